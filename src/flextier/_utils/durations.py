"""Durations as text, such as ``1h30m``; and the next time that a clock shows ``06:00``."""

from __future__ import annotations

import math
import re
from datetime import datetime, time, timedelta, tzinfo

Duration = float | int | str | timedelta
"""Seconds, or text such as ``"90s"``, ``"15m"``, ``"1h30m"`` or ``"2d"``."""

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_PARTS = re.compile(r"(?:\d+(?:\.\d+)?[smhdw])+")
_PART = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")
_FORM = "must be seconds, or a duration such as 90s, 15m, 1h30m or 2d"


def seconds_of(span: Duration) -> float:
    """A duration in seconds, which may be 0 or less.

    Raises:
        ValueError: it is none; the message says what can be given.
    """
    if isinstance(span, timedelta):
        return span.total_seconds()
    text = str(span).strip().lower()
    found = span_with_units(text)
    if found is None:
        try:
            found = float(text)
        except ValueError:
            found = math.nan
    if not math.isfinite(found):
        of_day = "; times of day go into until (--until)" if _CLOCK.fullmatch(text) else ""
        raise ValueError(_FORM + of_day)
    return found


def parse_duration(span: Duration) -> float:
    """A duration above 0, in seconds.

    Raises:
        ValueError: it is none, or not above 0; the message begins with the value.
    """
    try:
        if (found := seconds_of(span)) > 0:
            return found
        problem = f"{_FORM}, and above 0"
    except ValueError as error:
        problem = str(error)
    raise ValueError(f"{span!r}: {problem}") from None


def named_seconds(name: str, span: Duration) -> float:
    """:func:`seconds_of` an argument, whose name the error's message begins with."""
    try:
        return seconds_of(span)
    except ValueError as error:
        raise ValueError(f"{name}={span!r}: {error}") from None


def span_with_units(text: str) -> float | None:
    """Seconds of a text such as ``1h30m`` or ``4w``; None: it is no such text."""
    if not _PARTS.fullmatch(text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def next_time_of_day(text: str, now: float, zone: tzinfo | None = None) -> float:
    """The next time after ``now`` that the clock shows ``text``; both in seconds since the epoch.

    A time that the clock skips, when summer time begins, is as much later; of one that it shows
    twice, when summer time ends, the next one counts.

    Args:
        text: ``"06:00"`` or ``"06:00:30"``.
        now: the time now.
        zone: whose clock. None: this machine's.

    Raises:
        ValueError: it is no time of day; the message begins with the value.
    """
    found = _CLOCK.fullmatch(text.strip()) if isinstance(text, str) else None
    try:
        hour, minute, second = map(int, found.groups("0") if found else ())
        shown = time(hour, minute, second)
    except ValueError:
        raise ValueError(f"{text!r}: must be a time of day such as 06:00") from None
    today = datetime.fromtimestamp(now, zone).date()
    moments = (
        datetime.combine(today + timedelta(days), shown.replace(fold=fold), zone).timestamp()
        for days in range(3)
        for fold in (0, 1)
    )
    return next(moment for moment in moments if moment > now)
