"""Simulated background responses."""
