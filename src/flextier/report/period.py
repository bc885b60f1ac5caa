"""The period of a report: read from options such as ``7d``, and divided into bars for charts.

There are at most about 120 bars: one record with a date thousands of years off must not make a
page of thousands of months.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from functools import partial
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

    def zoned(self, at: datetime) -> datetime:
        """The time in the zone; in UTC, where that would be before the year 1 or after 9999."""
        try:
            return at.astimezone(self.zone)
        except OverflowError:
            return at.astimezone(timezone.utc)

    def local(self, at: datetime) -> datetime:
        """The local time in the zone, as a naive datetime."""
        return self.zoned(at).replace(tzinfo=None)


def period_of(since: str, until: str, tz: str, now: datetime) -> Period:
    """The period that the options ``--since``, ``--until`` and ``--tz`` select; ``now`` is UTC.

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


@dataclass(frozen=True, slots=True)
class Unit:
    """The length of a chart's bars."""

    name: str
    length: timedelta
    """Of the longest one: months and years differ."""
    longest: timedelta
    """The longest time that is divided into such bars."""
    start: Callable[[datetime], datetime]
    """Truncates a time to the start of its bar."""

    def next(self, start: datetime) -> datetime:
        """The start of the next bar; ``datetime.max`` after the last possible one."""
        try:
            return self.start(start + self.length)
        except OverflowError:
            return datetime.max

    def label(self, start: datetime) -> str:
        """``2026-11-21 14:00``, ``Sat 2026-11-21``, ``week of 2026-11-16``, ``2026-11``, ``2026``,
        ``2020 to 2029``.
        """
        match self.name:
            case "day":
                return f"{WEEKDAYS[start.weekday()]} {date_of(start)}"
            case "week":
                return f"week of {date_of(start)}"
            case "month":
                return date_of(start)[: len("2026-11")]
            case "year":
                return f"{start.year:04d}"
            case "decade" | "century":
                return f"{start.year:04d} to {(self.next(start) - timedelta.resolution).year:04d}"
        return moment(start)


def _day(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


def _week(at: datetime) -> datetime:
    return _day(at) - timedelta(days=at.weekday())  # weeks begin on Mondays


def _month(at: datetime) -> datetime:
    return _day(at).replace(day=1)


def _minutes(at: datetime, number: int) -> datetime:
    return at.replace(minute=at.minute - at.minute % number, second=0, microsecond=0)


def _years(at: datetime, number: int) -> datetime:
    return _month(at).replace(month=1, year=max(at.year - at.year % number, 1))


_YEAR = timedelta(days=366)

UNITS = {
    name: Unit(name, length, longest, start)
    for name, length, longest, start in (
        ("minute", timedelta(minutes=1), timedelta(hours=1), partial(_minutes, number=1)),
        ("5 minutes", timedelta(minutes=5), timedelta(hours=6), partial(_minutes, number=5)),
        ("15 minutes", timedelta(minutes=15), timedelta(days=1), partial(_minutes, number=15)),
        ("hour", timedelta(hours=1), timedelta(days=3), partial(_minutes, number=60)),
        ("day", timedelta(days=1), timedelta(days=92), _day),
        ("week", timedelta(days=7), 2 * _YEAR, _week),
        ("month", timedelta(days=31), 10 * _YEAR, _month),
        ("year", _YEAR, 120 * _YEAR, partial(_years, number=1)),
        ("decade", timedelta(days=3_653), 1200 * _YEAR, partial(_years, number=10)),
        ("century", timedelta(days=36_525), timedelta.max, partial(_years, number=100)),
    )
}
"""The lengths of bars by name, the shortest first."""
COARSE = ("year", "decade", "century")
"""Units of periods that are so long that a date is probably wrong."""


def unit_of(first: datetime, last: datetime) -> Unit:
    """The shortest unit that divides the time between two others into about 120 bars at most."""
    return next(unit for unit in UNITS.values() if last - first <= unit.longest)


def buckets(first: datetime, last: datetime, unit: Unit) -> Iterator[tuple[datetime, datetime]]:
    """Start and end of each bar, from that of ``first`` to that of ``last``."""
    start = unit.start(first)
    end = unit.next(start)
    yield start, end
    while end <= last and end != datetime.max:
        start, end = end, unit.next(end)
        yield start, end
