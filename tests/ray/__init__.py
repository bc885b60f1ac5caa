"""Datasets of Ray Data."""
