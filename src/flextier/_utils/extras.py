"""Errors for optional dependencies that are not installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Turn an ImportError inside into one that names the extra to install."""
    try:
        yield
    except ImportError as error:
        raise ImportError(
            f'{error}. This part of flextier needs an extra: pip install "flextier[{extra}]"',
            name=error.name,
        ) from error
