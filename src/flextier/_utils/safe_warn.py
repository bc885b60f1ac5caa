"""Warnings that harm no call: told, or logged where the program has made warnings errors."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any

_log = logging.getLogger("flextier")


def say(message: str, category: type[Warning] = UserWarning, *, stacklevel: int = 2) -> None:
    """Warn; but raise nothing, as an answer is had that is not to be lost."""
    try:
        warnings.warn(message, category, stacklevel=stacklevel + 1)
    except category:
        _log.error(message)  # which it is, by the program's filters


def hand(told: Any, hearer: Callable[[Any], object]) -> None:
    """Tell ``hearer``. One that raises does not harm the call: a warning says so."""
    try:
        hearer(told)
    except Exception as error:  # noqa: BLE001 - whatever it does, the answer is had
        say(f"{hearer!r} raised {error!r}: what a call came to is not told there", stacklevel=3)
