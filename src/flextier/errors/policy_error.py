"""The error for a wrong setting."""

from __future__ import annotations


class PolicyError(ValueError):
    """A setting is wrong. The message names the field and its variable."""
