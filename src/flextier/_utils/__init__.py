"""Helpers that are independent of calls, lanes and frameworks."""
