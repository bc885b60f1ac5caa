"""Aggregates of a ledger's calls: what the database has added up, folded into a Summary."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any, TypeVar

from sqlalchemy import Connection, Select

from flextier._utils.formatting import day
from flextier.costs.records import CallRecord
from flextier.costs.totals import Sums
from flextier.ledger.rows import record_of_row, tags_of, utc_time
from flextier.ledger.sessions import Session
from flextier.report import queries, time_buckets
from flextier.report.running_sums import RunningSums, numbers_of
from flextier.report.summary import (
    HOURS,
    WAITS,
    WEEKDAYS,
    Fallbacks,
    HourlyAttempts,
    NotableCall,
    Period,
    Summary,
    TimeBucket,
    WaitTimes,
)

_FLEX = "flex"
_K = TypeVar("_K", bound=Hashable)
Tallies = dict[_K, RunningSums]


def summarise(
    connection: Connection, period: Period, *, ledger: str, sessions: Iterable[Session] = ()
) -> Summary:
    """The summary of a ledger's calls in a period.

    Args:
        connection: to the ledger's database, in a transaction: what is written meanwhile must not
            be in one sum and missing in another.
        period: which calls are meant.
        ledger: the ledger's address, as the report shows it.
        sessions: the processes that have written to it.
    """
    inexact = _records(connection, queries.inexact(period))
    times = _TimeGroups(connection, period, inexact)
    groups = _Groups(connection, period, inexact)
    return Summary(
        ledger=ledger,
        period=period,
        made=datetime.now(timezone.utc),
        first=times.first,
        last=times.last,
        total=times.total.sums(),
        by_model=_sums(groups.models),
        by_lane=_sums(times.lanes),
        by_tag=_sums(groups.tags),
        by_day=_sums(times.days),
        slots=times.slots(),
        tries=times.tries(),
        waits=_waits(connection, period, times.total.every),
        fallbacks=groups.fallbacks(),
        slowest=tuple(_call(one, period) for one in _records(connection, queries.slowest(period))),
        dearest=_dearest(connection, period, inexact),
        troubled=tuple(one for one in sessions if _is_troubled(one, period)),
    )


class _TimeGroups:
    """Everything by time and lane."""

    def __init__(
        self, connection: Connection, period: Period, inexact: Iterable[CallRecord]
    ) -> None:
        self._period = period
        self.total = RunningSums()
        self.lanes: Tallies[str] = defaultdict(RunningSums)
        self.days: Tallies[str] = defaultdict(RunningSums)
        self._slots: Tallies[tuple[datetime, str]] = defaultdict(RunningSums)
        self._hours: Tallies[tuple[int, int, str]] = defaultdict(RunningSums)
        first, last = connection.execute(queries.span(period)).one()
        self.first = None if first is None else period.local(utc_time(first))
        self.last = None if last is None else period.local(utc_time(last))
        if self.first is None or self.last is None:
            return
        self._cut = time_buckets.cut_for(self.first, self.last)
        for quarter, lane, *numbers in connection.execute(queries.slots(period)):
            at = period.local(utc_time(quarter * queries.QUARTER_US))
            summed = numbers_of(numbers)
            for tally in self._tallies(at, lane):
                tally.add(summed)
        for record in inexact:
            for tally in self._tallies(period.local(record.at), record.lane):
                tally.records.append(record)

    def _tallies(self, at: datetime, lane: str) -> tuple[RunningSums, ...]:
        return (
            self.total,
            self.lanes[lane],
            self.days[day(at)],
            self._slots[self._cut(at), lane],
            self._hours[at.weekday(), at.hour, lane],
        )

    def slots(self) -> tuple[TimeBucket, ...]:
        """From the first call to the last, those without any call, too."""
        if self.first is None or self.last is None:
            return ()
        lanes = sorted(self.lanes)
        return tuple(
            self._slot(start, end, lanes)
            for start, end in time_buckets.slots(self.first, self.last, self._cut)
        )

    def _slot(self, start: datetime, end: datetime, lanes: Iterable[str]) -> TimeBucket:
        tallies = {lane: self._slots[start, lane] for lane in lanes if (start, lane) in self._slots}
        return TimeBucket(
            start,
            end,
            joined(tallies.values()).sums(),
            {lane: tally.calls for lane, tally in tallies.items()},
        )

    def tries(self) -> tuple[tuple[HourlyAttempts, ...], ...]:
        found = [[HourlyAttempts()] * HOURS for _ in WEEKDAYS]
        for (weekday, hour, lane), tally in self._hours.items():
            refused = tally["refusals"] + sum(record.refusals for record in tally.records)
            served = tally.calls if lane == _FLEX else 0
            found[weekday][hour] = found[weekday][hour].plus(HourlyAttempts(refused, served))
        return tuple(tuple(hours) for hours in found)


def joined(tallies: Iterable[RunningSums]) -> RunningSums:
    """All of them together."""
    whole = RunningSums()
    for tally in tallies:
        whole.add(tally.numbers)
        whole.records += tally.records
    return whole


class _Groups:
    """Everything by model, tag and reason of a fallback."""

    def __init__(
        self, connection: Connection, period: Period, inexact: Iterable[CallRecord]
    ) -> None:
        self.models: Tallies[str] = defaultdict(RunningSums)
        self.tags: Tallies[str] = defaultdict(RunningSums)
        self._fallbacks: Tallies[str] = defaultdict(RunningSums)
        for model, tags, fallback, *numbers in connection.execute(queries.groups(period)):
            summed = numbers_of(numbers)
            for tally in self._tallies(model, tags_of(tags), fallback):
                tally.add(summed)
        for record in inexact:
            for tally in self._tallies(record.model, record.tags, record.fallback):
                tally.records.append(record)

    def _tallies(self, model: str, tags: Iterable[str], fallback: str | None) -> list[RunningSums]:
        found = [self.models[model], *(self.tags[tag] for tag in dict.fromkeys(tags))]
        return found if fallback is None else [*found, self._fallbacks[fallback]]

    def fallbacks(self) -> tuple[Fallbacks, ...]:
        """Reasons with answered calls, the most frequent first."""
        found = []
        for reason, tally in self._fallbacks.items():
            sums = tally.sums()
            unknown = sums.fallback_calls - tally.premiums
            found.append(Fallbacks(reason, sums.fallback_calls, sums.fallback_premium, unknown))
        answered = [one for one in found if one.calls]
        return tuple(sorted(answered, key=lambda one: (-one.calls, one.reason)))


def _sums(tallies: Mapping[str, RunningSums]) -> dict[str, Sums]:
    return {name: tallies[name].sums() for name in sorted(tallies)}


def _waits(connection: Connection, period: Period, all_calls: int) -> WaitTimes:
    rows = [
        (float(tenths) / queries.TENTHS, int(calls), float(longest))
        for tenths, calls, longest in connection.execute(queries.waits(period))
    ]
    without = all_calls - sum(calls for _, calls, _ in rows)
    if without:
        rows.insert(0, (0.0, without, 0.0))
    if not rows:
        return WaitTimes()
    counts = [0] * (len(WAITS) + 1)
    for waited, calls, _ in rows:
        counts[sum(waited > end for end in WAITS)] += calls
    return WaitTimes(tuple(counts), _quantile(rows, 0.5), _quantile(rows, 0.9), rows[-1][2])


def _quantile(rows: Sequence[tuple[float, int, float]], share: float) -> float:
    """What that share of the calls waited at most; rows begin with the shortest wait."""
    left = share * sum(calls for _, calls, _ in rows)
    for waited, calls, _ in rows:
        left -= calls
        if left <= 0:
            return waited
    return rows[-1][0]


def _dearest(
    connection: Connection, period: Period, inexact: Iterable[CallRecord]
) -> tuple[NotableCall, ...]:
    held = _records(connection, queries.dearest(period))
    calls = (_call(record, period) for record in (*held, *inexact))
    priced = [call for call in calls if call.cost is not None]
    return tuple(sorted(priced, key=_cost, reverse=True)[: queries.SHOWN])


def _cost(call: NotableCall) -> Decimal:
    return call.cost or Decimal(0)


def _records(connection: Connection, query: Select[Any]) -> list[CallRecord]:
    return [record_of_row(row) for row in connection.execute(query).mappings()]


def _call(record: CallRecord, period: Period) -> NotableCall:
    return NotableCall(
        call_id=record.call_id,
        at=period.local(record.at),
        model=record.model,
        lane=record.lane,
        tags=record.tags,
        answered=record.answered,
        basis=record.cost.basis,
        cost=record.cost.total,
        waited=record.waited,
        elapsed=record.elapsed,
        refusals=record.refusals,
    )


def _is_troubled(session: Session, period: Period) -> bool:
    """Whether calls of the period may be missing because of it."""
    if session.state == "closed" and not session.lost:
        return False
    begun = period.until is None or session.started < period.until
    return begun and (period.since is None or session.seen >= period.since)
