"""Durations and times of day as text: ``6h``, ``90m``, ``3600``, ``06:00``."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta

Duration = float | int | str | timedelta

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PARTS = re.compile(r"(?:\d+(?:\.\d+)?[smhd])+")
_PART = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")


def parse_duration(span: Duration, *, now: datetime | None = None) -> float:
    """A duration in seconds.

    Args:
        span: seconds, a timedelta, ``"90m"``, ``"1h30m"``, or the local time of day at which it
            ends next, such as ``"06:00"``.
        now: the time that it begins. None: now.

    Raises:
        ValueError: it is none of these, or not above 0.
    """
    found = _read(span, now or datetime.now().astimezone())
    if found is None or not math.isfinite(found) or found <= 0:
        raise ValueError(
            f"{span!r}: give seconds above 0, or 90m, 6h, 1h30m, or a time of day such as 06:00"
        )
    return found


def _read(span: Duration, now: datetime) -> float | None:
    if isinstance(span, timedelta):
        return span.total_seconds()
    text = str(span).strip().lower()
    if clock := _CLOCK.fullmatch(text):
        return _until(now, *(int(part or 0) for part in clock.groups()))
    if _PARTS.fullmatch(text):
        return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    try:
        return float(text)
    except ValueError:
        return None


def _until(now: datetime, hour: int, minute: int, second: int) -> float | None:
    try:
        then = now.replace(hour=hour, minute=minute, second=second, microsecond=0)
    except ValueError:
        return None
    if then <= now:
        then += timedelta(days=1)
    return (then - now).total_seconds()
