"""Queries of a ledger: its records, and sums that the database works out, exactly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from itertools import product
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, and_, case, func, select, true, tuple_

from flextier.costs.records import CallRecord
from flextier.costs.totals import CostTotals, Sums
from flextier.ledger.decimal_columns import amount
from flextier.ledger.filters import CallFilter, Group, grouping
from flextier.ledger.rows import amount_left_out, moment, record_of_row
from flextier.ledger.schema import AMOUNTS, TOKENS, calls, sessions
from flextier.ledger.sessions import Session, state_of
from flextier.ledger.store import LedgerStore
from flextier.pricing.decimals import added, difference

_PAGE = 1000

_TOTALS = {
    "cost": "cost",
    "standard": "standard_cost",
    "premium": "fallback_premium",
    "possibly_billed": "possibly_billed",
}
"""An amount's columns, and its name in totals."""

_answered = calls.c.answered == 1


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))


_SUMS: dict[str, ColumnElement[Any]] = {
    "calls": func.sum(calls.c.answered),
    "failed_calls": func.count() - func.sum(calls.c.answered),
    "fallback_calls": _count(_answered & calls.c.fallback.is_not(None)),
    "refusals": func.sum(calls.c.refusals),
    "possibly_billed_attempts": func.sum(calls.c.possibly_billed_attempts),
    "unpriced_calls": _count(_answered & (calls.c.basis == "unpriced")),
    "estimated_calls": _count(_answered & (calls.c.basis == "estimated")),
    **{name: func.sum(calls.c[name]) for name in TOKENS},
}
_AMOUNTS: dict[str, tuple[ColumnElement[Any], ColumnElement[Any]]] = {
    **{
        total: (calls.c[f"{name}_nano"], calls.c[f"{name}_atto"]) for name, total in _TOTALS.items()
    },
    # Without one of the two there is no difference either: NULL is left out of a sum.
    "saved": (
        calls.c.standard_nano - calls.c.cost_nano,
        calls.c.standard_atto - calls.c.cost_atto,
    ),
}


def records(store: LedgerStore, which: CallFilter) -> Iterator[CallRecord]:
    """The records, oldest first; a page of them in memory at a time."""
    place = tuple_(calls.c.at_us, calls.c.id)
    after: tuple[int, int] | None = None
    while True:
        # No connection stays open while the caller looks at a page: it may fork, or take its time.
        with store.reading() as connection:
            conditions = which.conditions(connection.dialect.name)
            asked = select(calls).where(*conditions).order_by(*place).limit(_PAGE)
            if after is not None:
                asked = asked.where(place > tuple_(*after))
            page = connection.execute(asked).mappings().all()
        yield from map(record_of_row, page)
        if len(page) < _PAGE:
            return
        after = page[-1]["at_us"], page[-1]["id"]


def sums(
    store: LedgerStore, which: CallFilter, by: tuple[Group, ...]
) -> dict[tuple[Any, ...], Sums]:
    """Sums by the values of some groups; a call with two tags is in both of these."""
    found: dict[tuple[Any, ...], Sums] = {}
    for values, group_sums in _grouped(store, which, by):
        for key in _keys(by, values):
            found.setdefault(key, Sums())._plus(group_sums)
    return found


def totals(store: LedgerStore, which: CallFilter) -> CostTotals:
    """What :class:`CostTotals` of the same records is."""
    whole = CostTotals()
    for (model, lane, tags), group_sums in _grouped(store, which, ("model", "lane", "tag")):
        whole._plus(group_sums)
        whole.by_model.setdefault(model, Sums())._plus(group_sums)
        whole.by_lane.setdefault(lane, Sums())._plus(group_sums)
        for tag in dict.fromkeys(tags):
            whole.by_tag.setdefault(tag, Sums())._plus(group_sums)
    return whole


def all_sessions(store: LedgerStore) -> tuple[Session, ...]:
    """Who has written, in the order of their beginning."""
    with store.reading() as connection:
        rows = connection.execute(select(sessions).order_by(sessions.c.started_us)).all()
    return tuple(
        Session(
            id=row.id,
            host=row.host,
            pid=row.pid,
            started=moment(row.started_us),
            seen=moment(row.seen_us),
            ended=None if row.ended_us is None else moment(row.ended_us),
            written=row.written,
            lost=row.lost,
            state=state_of(row),
        )
        for row in rows
    )


def _keys(by: tuple[Group, ...], values: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """The groups that calls with these values are in; a call without tags is in that of None."""
    choices = (
        (dict.fromkeys(value) or (None,)) if name == "tag" else (value,)
        for name, value in zip(by, values, strict=True)
    )
    return product(*choices)


def _grouped(
    store: LedgerStore, which: CallFilter, by: tuple[Group, ...]
) -> Iterator[tuple[tuple[Any, ...], Sums]]:
    """Sums by the groups' values as the rows have them: tags all together."""
    groups = [grouping(name) for name in by]
    names = [column.label(f"group_{number}") for number, (column, _) in enumerate(groups)]
    with store.reading() as connection:
        conditions = and_(true(), *which.conditions(connection.dialect.name))
        summed = connection.execute(_summing(names).where(conditions).group_by(*names)).all()
        left_out = connection.execute(_inexact(names).where(conditions)).mappings().all()

    def read(row: Any) -> tuple[Any, ...]:
        return tuple(as_name(value) for (_, as_name), value in zip(groups, row, strict=False))

    for row in summed:
        if row.every:
            yield read(row), _sums(row._mapping)
    for mapping in left_out:
        yield read(mapping.values()), _sums_left_out(mapping)


def _summing(names: list[Any]) -> Any:
    columns = [column.label(name) for name, column in _SUMS.items()]
    for name, (nano, atto) in _AMOUNTS.items():
        columns += [func.sum(nano).label(f"{name}_nano"), func.sum(atto).label(f"{name}_atto")]
    return select(*names, func.count().label("every"), *columns)


def _sums(row: RowMapping) -> Sums:
    group_sums = Sums()
    for name in _SUMS:
        setattr(group_sums, name, int(row[name] or 0))
    for name in _AMOUNTS:
        nano, atto = row[f"{name}_nano"] or 0, row[f"{name}_atto"] or 0
        setattr(group_sums, name, amount(int(nano), int(atto)))
    return group_sums


def _inexact(names: list[Any]) -> Any:
    nanos = [calls.c[f"{name}_nano"] for name in AMOUNTS]
    return select(*names, *nanos, calls.c.exact).where(calls.c.exact.is_not(None))


def _sums_left_out(row: RowMapping) -> Sums:
    """What the sums of the columns lack of a call with numbers that these cannot hold."""
    group_sums, exact = Sums(), json.loads(row["exact"])
    for name in TOKENS:
        setattr(group_sums, name, int(exact.get(name, 0)))
    amounts = {name: amount_left_out(row, exact, name) for name in AMOUNTS}
    for name, total in _TOTALS.items():
        setattr(group_sums, total, amounts[name] or Decimal(0))
    cost, standard = amounts["cost"], amounts["standard"]
    if cost is not None and standard is not None:
        group_sums.saved = added(group_sums.saved, difference(standard, cost))
    return group_sums
