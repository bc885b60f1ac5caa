"""The name that a misspelt one was meant to be."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(name: str, names: Iterable[str], cutoff: float = 0.6) -> str:
    """``": did you mean 'deadline'?"``; empty if no name is near."""
    import difflib

    close = difflib.get_close_matches(name, tuple(names), n=1, cutoff=cutoff)
    return f": did you mean {close[0]!r}?" if close else ""
