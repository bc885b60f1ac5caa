"""Aggregates of a ledger's calls: sums of the database, grouped into a Summary."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from sqlalchemy import Connection, Select

from flextier._utils.formatting import day
from flextier.costs.records import CallRecord
from flextier.costs.sums import Sums
from flextier.lanes import FLEX
from flextier.ledger.queries import Filter, grouped
from flextier.ledger.rows import record_of_row, tags_of, utc_time
from flextier.ledger.schema import calls
from flextier.ledger.sessions import Session
from flextier.report import queries
from flextier.report.period import WEEKDAYS, Period, buckets, unit_of
from flextier.report.summary import (
    HOURS,
    WAITS,
    Fallbacks,
    FlexAttempts,
    Summary,
    TimeBucket,
    WaitTimes,
)

_QUARTER = timedelta(minutes=15)
"""Quarters of an hour make up the hours and days of every time zone."""
_SHORT = timedelta(minutes=30)


def summarise(
    connection: Connection, period: Period, *, ledger: str, sessions: Iterable[Session] = ()
) -> Summary:
    """The summary of a ledger's calls in a period; ``ledger`` is its address, as it is shown.

    The connection is in a transaction, so that all sums are of the same calls.
    """
    created = datetime.now(timezone.utc)
    which: Filter = {"since": period.since, "until": period.until}
    times = _TimeGroups(connection, period, which, period.until or created)
    names = _NameGroups(connection, which)
    return Summary(
        ledger=ledger,
        period=period,
        created=created,
        first=times.first,
        last=times.last,
        total=times.total,
        by_model=dict(sorted(names.models.items())),
        by_lane=dict(sorted(times.lanes.items())),
        by_tag=dict(sorted(names.tags.items())),
        by_day=dict(sorted(times.days.items())),
        buckets=times.buckets,
        flex_attempts=tuple(map(tuple, times.flex_attempts)),
        waits=_waits(connection, which, times.total.calls + times.total.failed_calls),
        fallbacks=names.fallbacks,
        estimates={row[0]: row[1] for row in connection.execute(queries.estimates(which))},
        slowest=_records(connection, queries.slowest(which)),
        dearest=_records(connection, queries.dearest(which)),
        incomplete=tuple(session for session in sessions if _is_incomplete(session, period)),
    )


class _TimeGroups:
    """Sums by time and lane."""

    def __init__(
        self, connection: Connection, period: Period, which: Filter, until: datetime
    ) -> None:
        self.total = Sums()
        self.lanes: dict[str, Sums] = defaultdict(Sums)
        self.days: dict[str, Sums] = defaultdict(Sums)
        self.buckets: tuple[TimeBucket, ...] = ()
        self.flex_attempts = [[FlexAttempts()] * HOURS for _ in WEEKDAYS]
        first, last = connection.execute(queries.span(which)).one()
        self.first = None if first is None else period.zoned(utc_time(first))
        self.last = None if last is None else period.zoned(utc_time(last))
        if self.first is None or self.last is None:
            return
        begin, end, stop = map(period.local, (self.first, self.last, until))
        # Charts end where the period does, unless that is long after the last call.
        is_recent = timedelta(0) < stop - end < max(end - begin, _SHORT)
        last = stop - timedelta.resolution if is_recent else end
        unit = unit_of(begin, last)
        sums_at: dict[datetime, Sums] = defaultdict(Sums)
        lanes_at: dict[datetime, Counter[str]] = defaultdict(Counter)
        width = min(unit.length, _QUARTER) // timedelta(microseconds=1)
        keys = [calls.c.at_us // width, calls.c.lane]
        for (place, lane), sums in grouped(connection, which, keys):
            at = period.local(utc_time(int(place) * width))
            start = unit.start(at)
            self.lanes[lane]._plus(sums)
            self.days[day(at)]._plus(sums)
            sums_at[start]._plus(sums)
            lanes_at[start][lane] += sums.calls
            attempts = FlexAttempts(sums.refusals, sums.calls if lane == FLEX.name else 0)
            by_hour = self.flex_attempts[at.weekday()]
            by_hour[at.hour] = by_hour[at.hour].plus(attempts)
        for sums in self.lanes.values():
            self.total._plus(sums)
        # The earliest call is not the first on a clock that is set back meanwhile.
        bars = buckets(min(sums_at), max(*sums_at, last), unit)
        self.buckets = tuple(
            TimeBucket(
                label=unit.label(start),
                start=start,
                end=min(end, stop) if is_recent and start < stop else end,
                sums=sums_at[start],
                calls_by_lane=dict(sorted(lanes_at[start].items())),
            )
            for start, end in bars
        )


class _NameGroups:
    """Sums by model, tag and reason of a fallback."""

    def __init__(self, connection: Connection, which: Filter) -> None:
        self.models: dict[str, Sums] = defaultdict(Sums)
        self.tags: dict[str, Sums] = defaultdict(Sums)
        reasons: dict[str, Sums] = defaultdict(Sums)
        keys = [calls.c.model, calls.c.tags, calls.c.fallback]
        for (model, tags, reason), sums in grouped(connection, which, keys):
            self.models[model]._plus(sums)
            for tag in dict.fromkeys(tags_of(tags)):
                self.tags[tag]._plus(sums)
            if reason is not None:
                reasons[reason]._plus(sums)
        unknown = {row[0]: row[1] for row in connection.execute(queries.unknown_premiums(which))}
        fallbacks = (
            Fallbacks(reason, sums.fallback_calls, sums.fallback_premium, unknown.get(reason, 0))
            for reason, sums in reasons.items()
            if sums.fallback_calls
        )
        self.fallbacks = tuple(sorted(fallbacks, key=lambda one: (-one.calls, one.reason)))


def _waits(connection: Connection, which: Filter, all_calls: int) -> WaitTimes:
    rows = [
        (float(tenths) / queries.TENTHS, int(number), float(longest))
        for tenths, number, longest in connection.execute(queries.waits(which))
    ]
    without = all_calls - sum(number for _, number, _ in rows)
    if without:
        rows.insert(0, (0.0, without, 0.0))
    if not rows:
        return WaitTimes()
    counts = [0] * (len(WAITS) + 1)
    for waited, number, _ in rows:
        counts[sum(waited > end for end in WAITS)] += number
    return WaitTimes(tuple(counts), _quantile(rows, 0.5), _quantile(rows, 0.9), rows[-1][2])


def _quantile(rows: Sequence[tuple[float, int, float]], share: float) -> float:
    """The longest wait among that share of the calls; rows begin with the shortest wait."""
    left = share * sum(number for _, number, _ in rows)
    for waited, number, _ in rows:
        left -= number
        if left <= 0:
            return waited
    return rows[-1][0]


def _records(connection: Connection, query: Select[Any]) -> tuple[CallRecord, ...]:
    return tuple(map(record_of_row, connection.execute(query).mappings()))


def _is_incomplete(session: Session, period: Period) -> bool:
    """Whether calls of the period may be missing from the session's records."""
    if session.state == "closed" and not session.lost:
        return False
    started = period.until is None or session.started < period.until
    return started and (period.since is None or session.seen >= period.since)
