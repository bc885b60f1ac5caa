"""What to do next with a call: pure decisions, from facts that are passed in."""
