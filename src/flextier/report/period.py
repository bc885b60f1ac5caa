"""Which calls a report is about: ``7d``, ``12h``, ``2026-11-01``, ``all``, and in whose time."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from flextier.report.summary import Period

_AGO = re.compile(r"(\d{1,6})\s*([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_UTC_NAMES = ("UTC", "Z", "GMT")


def period_of(since: str, until: str, tz: str, now: datetime) -> Period:
    """The period that the options select.

    Args:
        since: ``--since``: so long ago, a day or a time, or ``all``.
        until: ``--until``: the same, or ``now``.
        tz: ``--tz``: whose days and hours, and what times without an offset mean.
        now: the time, UTC.

    Raises:
        ValueError: one of them cannot be read; the message names it.
    """
    zone, name = _zone(tz)
    start = None if since == "all" else _moment("--since", since, zone, now)
    end = None if until == "now" else _moment("--until", until, zone, now)
    if start is not None and start >= (end or now):
        raise ValueError(f"--since {since} is not before --until {until}: no call is between them")
    return Period(start, end, zone, name)


def _moment(option: str, given: str, zone: tzinfo, now: datetime) -> datetime:
    if ago := _AGO.fullmatch(given.strip()):
        length = {_UNITS[ago[2]]: int(ago[1])}
        try:
            return now - timedelta(**length)
        except OverflowError:
            raise ValueError(f"{option} {given} is before the first year") from None
    try:
        parsed = datetime.fromisoformat(given.strip().replace("Z", "+00:00"))
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=zone)).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        last = "all" if option == "--since" else "now"
        raise ValueError(
            f"{option} {given!r} is no time: give 90m, 12h, 7d or 4w for so long ago, a day like "
            f"2026-11-01, a time like 2026-11-01T09:30, or {last}"
        ) from None


def _zone(name: str) -> tuple[tzinfo, str]:
    if name.upper() in _UTC_NAMES:
        return timezone.utc, "UTC"
    try:
        return ZoneInfo(name), name
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"--tz {name!r} is no time zone: give UTC or a name like Europe/Vienna"
        ) from None
