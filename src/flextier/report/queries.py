"""What the database adds up for a report. Money and tokens are sums of integers: no digit is lost.

Tags are grouped by the whole list of a call, which is one of few, and taken apart afterwards; times
by quarters of an hour, which make up the hours and days of every time zone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, case, func, literal, select

from flextier.ledger.rows import microseconds
from flextier.ledger.schema import AMOUNTS, TOKENS, calls
from flextier.report.summary import Period

QUARTER_US = 15 * 60 * 1_000_000
TENTHS = 10
"""Resolution of waits: tenths of a second."""
SHOWN = 10
"""How many of the slowest and of the dearest calls are shown."""

SUMMED_AMOUNTS = (*AMOUNTS, "saved")
NUMBERS = (
    "records",
    "answered",
    "fallback_calls",
    "unpriced_calls",
    "estimated_calls",
    "premiums",
    "refusals",
    "possibly_billed_attempts",
    *TOKENS,
    *(f"{name}_{part}" for name in SUMMED_AMOUNTS for part in ("nano", "atto")),
)
"""The sums of a group, in the order of its row, after the group's keys."""

_CONDITIONS = {
    "fallback_calls": calls.c.fallback.is_not(None),
    "unpriced_calls": calls.c.basis == "unpriced",
    "estimated_calls": calls.c.basis == "estimated",
    "premiums": calls.c.fallback.is_not(None) & calls.c.premium_nano.is_not(None),
}
"""Answered calls of which something holds."""
_BOTH_KNOWN = calls.c.cost_nano.is_not(None) & calls.c.standard_nano.is_not(None)

Columns = list[ColumnElement[Any]]


def slots(period: Period) -> Select[Any]:
    """Sums by quarter of an hour and lane."""
    return _sums([(calls.c.at_us // _number(QUARTER_US)).label("quarter"), calls.c.lane], period)


def groups(period: Period) -> Select[Any]:
    """Sums by model, list of tags and reason of a fallback."""
    return _sums([calls.c.model, calls.c.tags, calls.c.fallback], period)


def inexact(period: Period) -> Select[Any]:
    """The rows with numbers that the columns cannot hold: they are in none of the sums."""
    return select(calls).where(*_inside(period), calls.c.exact.is_not(None))


def waits(period: Period) -> Select[Any]:
    """Calls by the tenths of a second that they waited, shortest first; those that did wait."""
    tenths = func.round(calls.c.waited * _number(TENTHS)).label("tenths")
    return (
        select(tenths, func.count().label("calls"), func.max(calls.c.waited).label("longest"))
        .where(*_inside(period), calls.c.waited >= 0.5 / TENTHS)
        .group_by(tenths)
        .order_by(tenths)
    )


def span(period: Period) -> Select[Any]:
    """When the first and the last call began."""
    return select(func.min(calls.c.at_us), func.max(calls.c.at_us)).where(*_inside(period))


def slowest(period: Period) -> Select[Any]:
    """The calls that took longest."""
    return _top(_inside(period), calls.c.elapsed.desc())


def dearest(period: Period) -> Select[Any]:
    """The calls that cost most, of those whose cost the columns hold."""
    priced = (calls.c.cost_nano.is_not(None), calls.c.exact.is_(None))
    return _top((*_inside(period), *priced), calls.c.cost_nano.desc(), calls.c.cost_atto.desc())


def _top(inside: Iterable[ColumnElement[bool]], *order: ColumnElement[Any]) -> Select[Any]:
    # The ids first: whole rows are a lot to sort.
    first = select(calls.c.id).where(*inside).order_by(*order, calls.c.id).limit(SHOWN).subquery()
    return select(calls).join(first, calls.c.id == first.c.id).order_by(*order, calls.c.id)


def _inside(period: Period) -> Iterable[ColumnElement[bool]]:
    if period.since is not None:
        yield calls.c.at_us >= microseconds(period.since)
    # None is no condition at all: reading everything is quicker without an index.
    if period.until is not None:
        yield calls.c.at_us < microseconds(period.until)


def _number(value: int) -> ColumnElement[int]:
    """A number in the SQL itself: PostgreSQL takes two parameters for different expressions."""
    return literal(value, BigInteger, literal_execute=True)


def _sums(keys: Columns, period: Period) -> Select[Any]:
    sums = [func.sum(_summed(name)).label(name) for name in NUMBERS]
    inside = (*_inside(period), calls.c.exact.is_(None))
    return select(*keys, *sums).where(*inside).group_by(*keys)


def _summed(name: str) -> ColumnElement[Any]:
    if name in _CONDITIONS:
        return case((_CONDITIONS[name], calls.c.answered), else_=0)
    if name.startswith("saved_"):
        part = name.removeprefix("saved")
        return case((_BOTH_KNOWN, calls.c[f"standard{part}"] - calls.c[f"cost{part}"]))
    return calls.c[name] if name in calls.c else _number(1)
