"""Queries of a ledger: filters, groups, records, and exact sums computed by the database."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, timedelta
from itertools import product
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    case,
    cast,
    func,
    literal,
    or_,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import JSONB
from typing_extensions import TypedDict

from flextier.costs.records import CallRecord
from flextier.costs.sums import Sums
from flextier.costs.totals import CostTotals
from flextier.ledger.rows import amount_of, microseconds, record_of_row, tags_of, utc_time
from flextier.ledger.schema import TOKENS, calls, sessions
from flextier.ledger.sessions import Session, state_of
from flextier.ledger.store import LedgerStore

_PAGE = 1000
_HOUR = 3_600_000_000

Group = Literal[
    "model",
    "served_model",
    "lane",
    "first_lane",
    "framework",
    "basis",
    "fallback",
    "error",
    "priced_as",
    "tag",
    "day",
    "hour",
    "hour_of_day",
]
"""``"day"``: a date; ``"hour"``: the time when it began; ``"hour_of_day"``: 0 to 23; all UTC."""


class Filter(TypedDict, total=False):
    """Selects calls. None, or missing: any."""

    since: datetime | None
    """Calls that began then or later; UTC where it has no zone."""
    until: datetime | None
    """Calls that began before."""
    model: str | None
    """The model asked for."""
    lane: str | None
    """The lane billed."""
    framework: str | None
    tag: str | None
    """One of the call's tags."""
    run_id: str | None
    """The run of the call, or its parent run."""


def conditions(which: Filter, dialect: str = "") -> Iterator[ColumnElement[bool]]:
    """The filter as SQL conditions; that on tags is one of the ``dialect``."""
    value: Any
    for name, value in which.items():
        match name:
            case _ if value is None:
                continue
            case "since":
                yield calls.c.at_us >= microseconds(value)
            case "until":
                yield calls.c.at_us < microseconds(value)
            case "tag":
                yield _has_tag(value, dialect)
            case "run_id":
                yield or_(calls.c.run_id == value, calls.c.parent_run_id == value)
            case _:
                yield calls.c[name] == value


def _has_tag(tag: str, dialect: str) -> ColumnElement[bool]:
    if dialect == "postgresql":
        return cast(calls.c.tags, JSONB).contains(cast(literal(json.dumps([tag])), JSONB))
    tags = func.json_each(calls.c.tags).table_valued("value")
    found = select(literal(1)).select_from(tags).where(tags.c.value == tag)
    return calls.c.tags.is_not(None) & found.exists()


def _grouping(name: Group) -> tuple[ColumnElement[Any], Callable[[Any], Any]]:
    """The SQL expression of a group, and a function from its value to the group's key."""
    if name == "tag":
        return calls.c.tags, tags_of
    if name == "day":
        return calls.c.at_us // (24 * _HOUR), lambda days: date(1970, 1, 1) + timedelta(days=days)
    if name == "hour":
        return calls.c.at_us // _HOUR, lambda hours: utc_time(hours * _HOUR)
    if name == "hour_of_day":
        return calls.c.at_us // _HOUR % 24, int
    return calls.c[name], lambda value: value


def records(store: LedgerStore, which: Filter) -> Iterator[CallRecord]:
    """The records, oldest first; one page of them in memory at a time."""
    order = tuple_(calls.c.at_us, calls.c.id)
    after: tuple[int, int] | None = None
    while True:
        # No connection is open while the caller processes a page: it may fork, or take long.
        with store.reading() as connection:
            selected = conditions(which, connection.dialect.name)
            query = select(calls).where(*selected).order_by(*order).limit(_PAGE)
            if after is not None:
                query = query.where(order > tuple_(*after))
            page = connection.execute(query).mappings().all()
        yield from map(record_of_row, page)
        if len(page) < _PAGE:
            return
        after = page[-1]["at_us"], page[-1]["id"]


def sums(store: LedgerStore, which: Filter, by: tuple[Group, ...]) -> dict[tuple[Any, ...], Sums]:
    """Sums by groups; a call with two tags is in both of these, one without tags in None."""
    result: dict[tuple[Any, ...], Sums] = {}
    for values, group_sums in _grouped(store, which, by):
        choices = (
            (dict.fromkeys(value) or (None,)) if name == "tag" else (value,)
            for name, value in zip(by, values, strict=True)
        )
        for key in product(*choices):
            result.setdefault(key, Sums())._plus(group_sums)
    return result


def totals(store: LedgerStore, which: Filter) -> CostTotals:
    """The same as :class:`CostTotals` of the records."""
    whole = CostTotals()
    for (model, lane, tags), group_sums in _grouped(store, which, ("model", "lane", "tag")):
        whole._plus(group_sums)
        whole.by_model.setdefault(model, Sums())._plus(group_sums)
        whole.by_lane.setdefault(lane, Sums())._plus(group_sums)
        for tag in dict.fromkeys(tags):
            whole.by_tag.setdefault(tag, Sums())._plus(group_sums)
    return whole


def all_sessions(store: LedgerStore) -> tuple[Session, ...]:
    """The processes that have written, in the order in which they started."""
    with store.reading() as connection:
        rows = connection.execute(select(sessions).order_by(sessions.c.started_us)).all()
    return tuple(
        Session(
            **{name: getattr(row, name) for name in ("id", "host", "pid", "written", "lost")},
            started=utc_time(row.started_us),
            seen=utc_time(row.seen_us),
            ended=None if row.ended_us is None else utc_time(row.ended_us),
            state=state_of(row),
        )
        for row in rows
    )


def _grouped(
    store: LedgerStore, which: Filter, by: tuple[Group, ...]
) -> Iterator[tuple[tuple[Any, ...], Sums]]:
    groups = [_grouping(name) for name in by]
    with store.reading() as connection:
        for values, group_sums in grouped(connection, which, [column for column, _ in groups]):
            keys = zip(groups, values, strict=True)
            yield tuple(to_key(value) for (_, to_key), value in keys), group_sums


_answered = calls.c.answered == 1


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))


_COUNTS: dict[str, ColumnElement[Any]] = {
    "calls": func.sum(calls.c.answered),
    "failed_calls": func.count() - func.sum(calls.c.answered),
    "fallback_calls": _count(_answered & calls.c.fallback.is_not(None)),
    "refusals": func.sum(calls.c.refusals),
    "possibly_billed_attempts": func.sum(calls.c.possibly_billed_attempts),
    "unpriced_calls": _count(_answered & (calls.c.basis == "unpriced")),
    "estimated_calls": _count(_answered & (calls.c.basis == "estimated")),
    **{name: func.sum(calls.c[name]) for name in TOKENS},
}
_AMOUNTS: dict[str, ColumnElement[Any]] = {
    "cost": calls.c.cost_pico,
    "standard_cost": calls.c.standard_pico,
    "saved": calls.c.standard_pico - calls.c.cost_pico,  # NULL, if one of the two is
    "fallback_premium": calls.c.premium_pico,
    "possibly_billed": calls.c.possibly_billed_pico,
}
_MILLI = 10**9
"""Amounts are added up in two parts, so that a sum fits in the 64 bits of SQLite's integers."""


def grouped(
    connection: Connection, which: Filter, keys: Sequence[ColumnElement[Any]]
) -> Iterator[tuple[tuple[Any, ...], Sums]]:
    """Values of the key columns, and sums of the calls that have them."""
    labels = [key.label(f"key_{number}") for number, key in enumerate(keys)]
    columns = [column.label(name) for name, column in _COUNTS.items()]
    for name, amount in _AMOUNTS.items():
        columns.append(func.sum(amount // _MILLI).label(f"{name}_milli"))
        columns.append(func.sum(amount % _MILLI).label(f"{name}_rest"))
    query = select(*labels, func.count().label("records"), *columns)
    selected = conditions(which, connection.dialect.name)
    for row in connection.execute(query.where(*selected).group_by(*labels)):
        if row.records:
            yield tuple(row[: len(labels)]), _sums(row._mapping)


def _sums(row: RowMapping) -> Sums:
    group_sums = Sums()
    for name in _COUNTS:
        setattr(group_sums, name, int(row[name] or 0))
    for name in _AMOUNTS:
        milli, rest = row[f"{name}_milli"] or 0, row[f"{name}_rest"] or 0
        setattr(group_sums, name, amount_of(int(milli) * _MILLI + int(rest)))
    return group_sums
