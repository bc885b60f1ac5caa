"""The name that a misspelt one was meant to be."""

from __future__ import annotations

from collections.abc import Collection, Iterable


def did_you_mean(name: str, names: Iterable[str], cutoff: float = 0.6) -> str:
    """``": did you mean 'deadline'?"``; empty if no name is near."""
    import difflib

    close = difflib.get_close_matches(name, tuple(names), n=1, cutoff=cutoff)
    return f": did you mean {close[0]!r}?" if close else ""


def check_arguments(function: str, given: Iterable[str], known: Collection[str]) -> None:
    """Check the names of keyword arguments.

    Raises:
        TypeError: the function has no such argument; the message suggests the nearest one.
    """
    for name in given:
        if name not in known:
            raise unexpected_argument(function, name, did_you_mean(name, known))


def unexpected_argument(function: str, name: str, hint: str) -> TypeError:
    """Python's error for an unknown argument, with a hint."""
    return TypeError(f"{function}() got an unexpected keyword argument {name!r}{hint}")
