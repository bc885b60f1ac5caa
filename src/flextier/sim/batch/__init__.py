"""The simulated Batch API."""
