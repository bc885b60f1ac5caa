"""The period of a report: read from options such as ``7d``, and divided into buckets for charts.

There are at most about 120 buckets: one record with a date thousands of years off must not make a
page of thousands of months.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from flextier._utils.durations import span_with_units
from flextier._utils.formatting import day as date_of
from flextier._utils.formatting import moment

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

_UTC_NAMES = ("UTC", "Z", "GMT")


@dataclass(frozen=True, slots=True)
class Period:
    """The time that a report covers, and its time zone."""

    since: datetime | None
    """Inclusive. None: from the first record."""
    until: datetime | None
    """Exclusive. None: to the last record."""
    zone: tzinfo
    """The time zone of days and hours."""
    zone_name: str

    def local(self, at: datetime) -> datetime:
        """The local time in the zone, as a naive datetime.

        UTC, where the local time would be before the year 1 or after 9999.
        """
        try:
            return at.astimezone(self.zone).replace(tzinfo=None)
        except OverflowError:
            return at.astimezone(timezone.utc).replace(tzinfo=None)


def period_of(since: str, until: str, tz: str, now: datetime) -> Period:
    """The period that the options select.

    Args:
        since: ``--since``: a time span before ``now``, a day or a time, or ``all``.
        until: ``--until``: the same, or ``now``.
        tz: ``--tz``: the zone of days and hours, and of times without an offset.
        now: the time, UTC.

    Raises:
        ValueError: an option is invalid; the message names it.
    """
    zone, name = _zone(tz)
    start = None if since == "all" else _parse("--since", since, zone, now)
    end = None if until == "now" else _parse("--until", until, zone, now)
    if start is not None and start >= (end or now):
        raise ValueError(f"--since {since} is not before --until {until}: no call is between them")
    return Period(start, end, zone, name)


def _parse(option: str, value: str, zone: tzinfo, now: datetime) -> datetime:
    if (ago := span_with_units(value.strip())) is not None:
        try:
            return now - timedelta(seconds=ago)
        except OverflowError:
            raise ValueError(f"{option} {value} is before the first year") from None
    try:
        parsed = datetime.fromisoformat(value.strip().replace("Z", "+00:00"))
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=zone)).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        word = "all" if option == "--since" else "now"
        raise ValueError(
            f"{option} {value!r} is not a time: give a time span before now like 90m, 12h, 7d or "
            f"4w, a day like 2026-11-01, a time like 2026-11-01T09:30, or {word}"
        ) from None


def _zone(name: str) -> tuple[tzinfo, str]:
    if name.upper() in _UTC_NAMES:
        return timezone.utc, "UTC"
    try:
        return ZoneInfo(name), name
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"--tz {name!r} is not a time zone: give UTC or a name like Europe/Vienna"
        ) from None


Truncate = Callable[[datetime], datetime]
"""Truncates a time to the start of its bucket."""


def hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def day(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


def week(at: datetime) -> datetime:
    """Weeks begin on Mondays."""
    return day(at) - timedelta(days=at.weekday())


def month(at: datetime) -> datetime:
    return day(at).replace(day=1)


def year(at: datetime) -> datetime:
    return day(at).replace(month=1, day=1)


def decade(at: datetime) -> datetime:
    return _years(at, 10)


def century(at: datetime) -> datetime:
    return _years(at, 100)


def _years(at: datetime, number: int) -> datetime:
    return year(at).replace(year=max(at.year - at.year % number, 1))


_LENGTHS: dict[Truncate, timedelta] = {
    hour: timedelta(hours=1),
    day: timedelta(days=1),
    week: timedelta(days=7),
    month: timedelta(days=31),  # the longest; the end is truncated to the start of the next bucket
    year: timedelta(days=366),
    decade: timedelta(days=3_653),
    century: timedelta(days=36_525),
}
_LONGEST_PERIODS: dict[Truncate, timedelta] = {
    hour: timedelta(days=3),
    day: timedelta(days=92),
    week: timedelta(days=2 * 366),
    month: timedelta(days=10 * 366),
    year: timedelta(days=120 * 366),
    decade: timedelta(days=1200 * 366),
    century: timedelta.max,
}


def truncation(first: datetime, last: datetime) -> Truncate:
    """The function that divides the time between two others into the buckets of a chart."""
    length = last - first
    return next(unit for unit, longest in _LONGEST_PERIODS.items() if length <= longest)


def buckets(
    first: datetime, last: datetime, truncate: Truncate
) -> Iterator[tuple[datetime, datetime]]:
    """Start and end of each bucket, from that of ``first`` to that of ``last``."""
    start = truncate(first)
    end = next_bucket(start, truncate)
    yield start, end
    while end <= last and end != datetime.max:
        start, end = end, next_bucket(end, truncate)
        yield start, end


def next_bucket(start: datetime, truncate: Truncate) -> datetime:
    """The start of the next bucket; ``datetime.max`` after the last possible one."""
    try:
        return truncate(start + _LENGTHS[truncate])
    except OverflowError:
        return datetime.max


def bucket_name(start: datetime, end: datetime) -> str:
    """``2026-11-21 14:00``, ``Sat 2026-11-21``, ``week of 2026-11-16``, ``2026-11``, ``2026``,
    ``2020 to 2029``.
    """
    length = end - start
    if length <= _LENGTHS[hour]:
        return moment(start)
    date = date_of(start)
    if length <= _LENGTHS[day]:
        return f"{WEEKDAYS[start.weekday()]} {date}"
    if length <= _LENGTHS[week]:
        return f"week of {date}"
    if length <= _LENGTHS[month]:
        return date[: len("2026-11")]
    last = (end - timedelta.resolution).year
    return f"{start.year:04d}" if last == start.year else f"{start.year:04d} to {last:04d}"


def coarse_unit(first: datetime, last: datetime) -> str | None:
    """``year``, ``decade`` or ``century``, if buckets are longer than months."""
    unit = truncation(first, last)
    return None if _LENGTHS[unit] <= _LENGTHS[month] else unit.__name__
