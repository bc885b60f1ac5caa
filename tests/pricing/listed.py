"""What an older price list lacks: Python 3.10 gets genai-prices 0.1."""

from __future__ import annotations

import sys

import pytest

# Sold after the last release of genai-prices for Python 3.10.
_LATER = frozenset({"gpt-6.1-terra"})


def skip_if_too_new(model: str) -> None:
    """Skip a test of a model that the price list for this Python cannot have."""
    if sys.version_info < (3, 11) and model in _LATER:
        pytest.skip(f"{model} is not in the price list for Python 3.10")
