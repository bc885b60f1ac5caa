"""Helpers that know nothing of calls, lanes or frameworks."""
