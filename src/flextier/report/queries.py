"""Queries of a report, beside the sums of :mod:`flextier.ledger.queries`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, func, literal, select

from flextier.ledger.queries import Filter, conditions
from flextier.ledger.schema import calls

TENTHS = 10
"""Resolution of waits: tenths of a second."""
TOP = 10
"""How many of the slowest and of the dearest calls are shown."""


def waits(which: Filter) -> Select[Any]:
    """Number of calls by the tenths of a second that they waited, shortest first, without 0."""
    # A literal: PostgreSQL treats two parameters as different expressions.
    resolution: ColumnElement[int] = literal(TENTHS, BigInteger, literal_execute=True)
    tenths = func.round(calls.c.waited * resolution).label("tenths")
    return (
        select(tenths, func.count().label("calls"), func.max(calls.c.waited).label("longest"))
        .where(*conditions(which), calls.c.waited >= 0.5 / TENTHS)
        .group_by(tenths)
        .order_by(tenths)
    )


def span(which: Filter) -> Select[Any]:
    """When the first and the last call began."""
    return select(func.min(calls.c.at_us), func.max(calls.c.at_us)).where(*conditions(which))


def unknown_premiums(which: Filter) -> Select[Any]:
    """Number of answered calls with an unknown premium, by reason of the fallback."""
    unknown = (
        calls.c.fallback.is_not(None),
        calls.c.answered == 1,
        calls.c.premium_pico.is_(None),
    )
    query = select(calls.c.fallback, func.count()).where(*conditions(which), *unknown)
    return query.group_by(calls.c.fallback)


def estimates(which: Filter) -> Select[Any]:
    """Number of answered calls by the reason why their cost is an estimate, the most first."""
    number = func.count()
    estimated = (calls.c.answered == 1, calls.c.basis == "estimated", calls.c.reason.is_not(None))
    query = select(calls.c.reason, number).where(*conditions(which), *estimated)
    return query.group_by(calls.c.reason).order_by(number.desc(), calls.c.reason)


def slowest(which: Filter) -> Select[Any]:
    """The calls that took longest."""
    return _top(conditions(which), calls.c.elapsed.desc())


def dearest(which: Filter) -> Select[Any]:
    """The calls that cost most."""
    priced = calls.c.cost_pico.is_not(None)
    return _top((*conditions(which), priced), calls.c.cost_pico.desc())


def _top(selected: Iterable[ColumnElement[bool]], *order: ColumnElement[Any]) -> Select[Any]:
    # Sorts ids instead of whole rows.
    ids = select(calls.c.id).where(*selected).order_by(*order, calls.c.id).limit(TOP).subquery()
    return select(calls).join(ids, calls.c.id == ids.c.id).order_by(*order, calls.c.id)
