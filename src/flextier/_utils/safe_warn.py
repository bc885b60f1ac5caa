"""Warnings and callbacks that never break a call: what they raise is logged or warned about."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")

_log = logging.getLogger("flextier")


_INTERNAL = frozenset(
    {"contextlib", "flextier", "langchain_core", "langchain_openai", "llama_index", "openai"}
)
"""Packages between a user's line and ours."""


def callers_level() -> int:
    """The ``stacklevel`` of ``warnings.warn``, in the calling function, for the user's line."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and _package(frame.f_globals) in _INTERNAL:
        level, frame = level + 1, frame.f_back
    return level


def _package(module: dict[str, object]) -> str:
    return str(module.get("__name__", "")).partition(".")[0]


def safe_warn(
    message: str, category: type[Warning] = UserWarning, *, stacklevel: int | None = 2
) -> None:
    """Warn without raising, as a response must not be lost: an error by filter is logged.

    ``stacklevel=None``: the warning points to the user's line.
    """
    try:
        warnings.warn(
            message, category, stacklevel=stacklevel + 1 if stacklevel else callers_level()
        )
    except category:
        _log.error(message)  # which it is, by the program's filters


def notify(callback: Callable[[_T], object], value: _T) -> None:
    """Call ``callback`` with ``value``; a warning reports what it raises."""
    try:
        callback(value)
    except Exception as error:  # noqa: BLE001 - whatever it raises, the call has its response
        warn_undelivered(callback, error)


def warn_undelivered(callback: object, error: Exception) -> None:
    """Warn that a callback has raised."""
    message = f"callback {callback!r} raised {error!r}; the call report was not delivered"
    safe_warn(message, stacklevel=4)
