"""Which calls a question is about, and by what they are grouped, in SQL."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, cast, func, literal, select
from sqlalchemy.dialects.postgresql import JSONB

from flextier.ledger.rows import microseconds, moment, tags_of
from flextier.ledger.schema import calls

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


@dataclass(frozen=True, slots=True)
class CallFilter:
    """Which calls are meant. None: any."""

    since: datetime | None = None
    """Calls that began then or later; UTC where it has no zone."""
    until: datetime | None = None
    """Calls that began before."""
    model: str | None = None
    """The model asked for."""
    lane: str | None = None
    """The lane billed."""
    framework: str | None = None
    tag: str | None = None
    """Calls that have it among their tags."""
    run_id: str | None = None
    """Calls whose own run, or the run around them, it is."""

    def conditions(self, dialect: str) -> Iterator[ColumnElement[bool]]:
        """The same in SQL."""
        if self.since is not None:
            yield calls.c.at_us >= microseconds(self.since)
        if self.until is not None:
            yield calls.c.at_us < microseconds(self.until)
        for name in ("model", "lane", "framework"):
            if getattr(self, name) is not None:
                yield calls.c[name] == getattr(self, name)
        if self.tag is not None:
            yield _tagged(self.tag, dialect)
        if self.run_id is not None:
            yield (calls.c.run_id == self.run_id) | (calls.c.parent_run_id == self.run_id)


def _tagged(tag: str, dialect: str) -> ColumnElement[bool]:
    if dialect == "postgresql":
        return cast(calls.c.tags, JSONB).contains(cast(literal(json.dumps([tag])), JSONB))
    each = func.json_each(calls.c.tags).table_valued("value")
    found = select(literal(1)).select_from(each).where(each.c.value == tag)
    return calls.c.tags.is_not(None) & found.exists()


def grouping(name: Group) -> tuple[ColumnElement[Any], Callable[[Any], Any]]:
    """The SQL expression of a group, and the function from its value to the group's name."""
    if name == "tag":
        return calls.c.tags, tags_of
    if name == "day":
        return calls.c.at_us // (24 * _HOUR), _day
    if name == "hour":
        return calls.c.at_us // _HOUR, lambda hours: moment(hours * _HOUR)
    if name == "hour_of_day":
        return calls.c.at_us // _HOUR % 24, int
    return calls.c[name], _itself


def _day(days: int) -> date:
    return date(1970, 1, 1) + timedelta(days=days)


def _itself(name: str | None) -> str | None:
    return name
