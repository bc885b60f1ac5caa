"""The sums of a report are those of the records, to the last digit."""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flextier.costs import CallRecord, CostTotals
from flextier.ledger import Ledger
from flextier.report.period import buckets, unit_of
from flextier.report.summary import WAITS, Summary
from tests.ledger.calls import call
from tests.report.conftest import summary_of
from tests.report.records import BEGIN, fortnight, histories

Keep = Callable[[Iterable[CallRecord]], Path]

_ZONES = ("UTC", "Asia/Kathmandu", "America/St_Johns", "Europe/Vienna")


@settings(max_examples=60)
@given(histories(), st.sampled_from(_ZONES))
def test_sums_are_those_of_the_records(history: list[CallRecord], zone: str) -> None:
    """In all, by model, lane, tag, and by the days of any time zone, nothing is rounded or lost."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ledger.db"
        with Ledger(file) as ledger:
            ledger.add_all(history)
        _holds(summary_of(file, tz=zone), history, zone)


def test_sums_on_postgresql(postgres_url: str) -> None:
    """Another database adds up to the same."""
    more = [replace(call(), call_id=f"more-{n}", tags=("a", "b", "a")) for n in range(3)]
    history = [*fortnight(), *more]
    with Ledger(postgres_url) as ledger:
        ledger.add_all(history)
    _holds(summary_of(postgres_url, tz="Asia/Kathmandu"), history, "Asia/Kathmandu")


def _holds(summary: Summary, history: list[CallRecord], zone: str) -> None:
    totals = CostTotals(history)
    assert summary.total.to_dict() == {
        name: value for name, value in totals.to_dict().items() if not name.startswith("by_")
    }
    assert summary.by_model == totals.by_model
    assert summary.by_lane == totals.by_lane
    assert summary.by_tag == totals.by_tag
    local = {record.call_id: record.at.astimezone(ZoneInfo(zone)) for record in history}
    days = defaultdict(list)
    for record in history:
        days[f"{local[record.call_id]:%Y-%m-%d}"].append(record)
    assert summary.by_day == {day: _plain(records) for day, records in days.items()}
    assert sum(bucket.sums.cost for bucket in summary.buckets) == totals.cost
    assert sum(sum(bucket.calls_by_lane.values()) for bucket in summary.buckets) == totals.calls
    assert sum(one.calls for one in summary.fallbacks) == totals.fallback_calls
    refused: Counter[int] = Counter()
    for record in history:
        refused[local[record.call_id].hour] += record.refusals
    assert [one.refused for one in summary.flex_attempts_by_hour] == [
        refused[hour] for hour in range(24)
    ]
    assert summary.waits.calls == len(history)


def _plain(records: list[CallRecord]) -> object:
    """The sums alone."""
    return CostTotals(replace(record, model="m", tags=()) for record in records).by_model["m"]


def test_a_period(keep: Keep) -> None:
    """Calls from its beginning on count, and none from its end on."""
    file = keep(fortnight())

    summary = summary_of(file, since="2026-11-03T05:00", until="2026-11-03T07:00")

    assert summary.records == 2
    assert summary.first == datetime(2026, 11, 3, 5, tzinfo=timezone.utc)
    assert summary.last == datetime(2026, 11, 3, 6, tzinfo=timezone.utc)


def test_when_flex_refuses(keep: Keep) -> None:
    """Refused attempts and calls that flex answered are counted by weekday and hour of the zone."""
    summary = summary_of(keep(fortnight()), tz="Etc/GMT-1")

    monday = summary.flex_attempts[0]
    assert (monday[17].refused, monday[17].served) == (6, 0)
    assert (monday[15].refused, monday[15].served) == (6, 2)
    assert monday[3].refused_share == 0
    assert summary.flex_attempts[5][17].refused_share == 0


def test_waits(keep: Keep) -> None:
    """Each call is in one class of waits; half and nine in ten waited so long at most."""
    waits = [0, 0, 0.01, 0.6, 1.0, 3, 20, 61, 301, 7_200]
    summary = summary_of(keep(call(waited=float(waited)) for waited in waits))

    assert summary.waits.counts == (3, 2, 1, 0, 1, 1, 1, 0, 1)
    assert len(summary.waits.counts) == len(WAITS) + 1
    assert (summary.waits.median, summary.waits.ninth_decile) == (1.0, 301.0)
    assert summary.waits.longest == 7_200


def test_slowest_and_dearest(keep: Keep) -> None:
    """The ten that took longest, and the ten that cost most, the first the most."""
    summary = summary_of(keep(fortnight()))

    assert [one.call_id for one in summary.dearest][:2] == ["call-281", "call-280"]
    assert len(summary.slowest) == len(summary.dearest) == 10
    elapsed = [one.elapsed for one in summary.slowest]
    assert elapsed == sorted(elapsed, reverse=True)
    assert elapsed[0] == max(record.elapsed for record in fortnight())


@pytest.mark.parametrize(
    ("length", "number"),
    [
        (timedelta(0), 1),
        (timedelta(minutes=40), 41),
        (timedelta(hours=5), 61),
        (timedelta(hours=24), 97),
        (timedelta(days=3), 73),
        (timedelta(days=30), 31),
        (timedelta(days=365), 53),
        (timedelta(days=3_650), 121),
        (timedelta(days=40_000), 110),
        (timedelta(days=400_000), 111),
        (timedelta(days=1_136_000), 32),
    ],
)
def test_buckets_are_few_enough_for_a_chart(length: timedelta, number: int) -> None:
    """From minutes to centuries, without a gap and without overlap."""
    first = BEGIN.replace(tzinfo=None, hour=9, minute=30)
    found = list(buckets(first, first + length, unit_of(first, first + length)))

    assert len(found) == pytest.approx(number, abs=1)
    assert found[0][0] <= first < found[0][1]
    assert found[-1][0] <= first + length < found[-1][1]
    assert all(one[1] == other[0] for one, other in pairwise(found))


def test_an_empty_ledger(keep: Keep) -> None:
    """No calls: no sums, no buckets, nothing that fails."""
    summary = summary_of(keep(()))

    assert summary.records == 0
    assert summary.first is None
    assert summary.buckets == ()
    assert summary.total == CostTotals()


def test_a_zone_with_summer_time(keep: Keep) -> None:
    """The hour that the clock shows twice holds the calls of both."""
    twice = datetime(2026, 10, 25, 0, 30, tzinfo=timezone.utc)
    file = keep(call(at=twice + timedelta(hours=hour)) for hour in range(3))

    summary = summary_of(file, tz="Europe/Vienna")

    assert [bucket.sums.calls for bucket in summary.buckets if bucket.sums.calls] == [2, 1]


def test_a_clock_that_is_set_back(keep: Keep) -> None:
    """A later call whose local time is earlier is in the chart, too."""
    begin = datetime(2026, 10, 25, 0, 30, tzinfo=timezone.utc)
    file = keep(call(at=begin + timedelta(minutes=minutes)) for minutes in (0, 29, 31))

    summary = summary_of(file, tz="Europe/Vienna")

    assert sum(bucket.sums.calls for bucket in summary.buckets) == 3


def test_charts_end_when_the_period_does(keep: Keep) -> None:
    """An hour's calls have bars of minutes; none of them reaches into the future."""
    file = keep(call(at=BEGIN + timedelta(minutes=minutes)) for minutes in (0, 20, 37))

    recent = summary_of(file, until="2026-11-02T00:42:30").buckets
    assert len(recent) == 43
    assert recent[-1].end == datetime(2026, 11, 2, 0, 42, 30)

    exact = summary_of(file, until="2026-11-02T00:42").buckets
    assert (len(exact), exact[-1].end) == (42, datetime(2026, 11, 2, 0, 42))

    old = summary_of(file, until="2026-11-20").buckets
    assert (len(old), old[-1].end) == (38, datetime(2026, 11, 2, 0, 38))
