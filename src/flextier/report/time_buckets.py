"""A stretch of time cut into slots that a chart can show, from hours to centuries.

However long it is, there are no more than about 120 slots: one record whose date is thousands of
years off must not make a page of thousands of months.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from flextier._utils.formatting import day as date_of
from flextier._utils.formatting import moment
from flextier.report.summary import WEEKDAYS

Cut = Callable[[datetime], datetime]
"""The start of the slot that a time is in."""

_HOURS_UP_TO = timedelta(days=3)
_DAYS_UP_TO = timedelta(days=92)
_WEEKS_UP_TO = timedelta(days=2 * 366)
_MONTHS_UP_TO = timedelta(days=10 * 366)
_YEARS_UP_TO = timedelta(days=120 * 366)
_DECADES_UP_TO = timedelta(days=1200 * 366)


def cut_for(first: datetime, last: datetime) -> Cut:
    """What cuts the time between two others so that a chart has neither few slots nor many."""
    length = last - first
    if length <= _HOURS_UP_TO:
        return hour
    if length <= _DAYS_UP_TO:
        return day
    if length <= _WEEKS_UP_TO:
        return week
    if length <= _MONTHS_UP_TO:
        return month
    if length <= _YEARS_UP_TO:
        return year
    return decade if length <= _DECADES_UP_TO else century


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


_STEPS: dict[Cut, timedelta] = {
    hour: timedelta(hours=1),
    day: timedelta(days=1),
    week: timedelta(days=7),
    month: timedelta(days=31),  # into the next one, whose start is then cut off
    year: timedelta(days=366),
    decade: timedelta(days=3_653),
    century: timedelta(days=36_525),
}


def slots(first: datetime, last: datetime, cut: Cut) -> Iterator[tuple[datetime, datetime]]:
    """Start and end of every slot from that of one time to that of another."""
    start, end = cut(first), following(cut(first), cut)
    yield start, end
    while end <= last and end != datetime.max:
        start, end = end, following(end, cut)
        yield start, end


def following(start: datetime, cut: Cut) -> datetime:
    """The start of the next slot; of the last that there is, the end of time."""
    try:
        return cut(start + _STEPS[cut])
    except OverflowError:
        return datetime.max


def slot_name(start: datetime, end: datetime) -> str:
    """``2026-11-21 14:00``, ``Sat 2026-11-21``, ``week of 2026-11-16``, ``2026-11``, ``2026``,
    ``2020 to 2029``.
    """
    length = end - start
    if length <= _STEPS[hour]:
        return moment(start)
    date = date_of(start)
    if length <= _STEPS[day]:
        return f"{WEEKDAYS[start.weekday()]} {date}"
    if length <= _STEPS[week]:
        return f"week of {date}"
    if length <= _STEPS[month]:
        return date[: len("2026-11")]
    last = (end - timedelta.resolution).year
    return f"{start.year:04d}" if last == start.year else f"{start.year:04d} to {last:04d}"


def coarseness(first: datetime, last: datetime) -> str | None:
    """``year``, ``decade`` or ``century``, where slots are longer than months."""
    cut = cut_for(first, last)
    return None if _STEPS[cut] <= _STEPS[month] else cut.__name__
