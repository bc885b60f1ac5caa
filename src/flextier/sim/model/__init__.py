"""The simulated model: which models there are, and what they answer."""
