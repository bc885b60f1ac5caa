"""Warnings and callbacks that never break a call: what they raise is logged or warned about."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")

_log = logging.getLogger("flextier")


def safe_warn(message: str, category: type[Warning] = UserWarning, *, stacklevel: int = 2) -> None:
    """Warn without raising, as a response must not be lost: an error by filter is logged."""
    try:
        warnings.warn(message, category, stacklevel=stacklevel + 1)
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
