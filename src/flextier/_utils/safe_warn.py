"""Warnings and callbacks that never break a call: what they raise is logged or warned about."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")

_log = logging.getLogger("flextier")


_SKIPPED = frozenset(
    {
        "asyncio", "concurrent", "contextlib", "flextier", "importlib", "langchain",
        "langchain_core", "langchain_openai", "langgraph", "llama_index",
        "llama_index_instrumentation", "openai", "pydantic", "threading", "workflows", "wrapt",
    }
)  # fmt: skip
"""Packages and modules that are between a user's line and ours."""


def callers_level() -> int:
    """The ``stacklevel`` of ``warnings.warn``, in the calling function, for the user's line.

    In a thread without one, it is that of the line that calls the calling function.
    """
    level, frame = 1, sys._getframe(1)
    while frame.f_globals.get("__name__", "").partition(".")[0] in _SKIPPED:
        if frame.f_back is None:
            return 2
        # `warnings` does not count frames of the import system.
        level += "importlib._bootstrap" not in frame.f_code.co_filename
        frame = frame.f_back
    return level


def safe_warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn without raising, as a response must not be lost: an error by filter is logged.

    The warning points to the user's line.
    """
    try:
        warnings.warn(message, category, stacklevel=callers_level())
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
    safe_warn(message)
