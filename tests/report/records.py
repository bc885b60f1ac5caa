"""Records for reports: of any kind, and a small believable history."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal

from hypothesis import strategies as st

from flextier.calls.report import Attempt
from flextier.costs import CallRecord, Usage, record_of
from tests.costs.records import records, report
from tests.ledger.calls import costing

BEGIN = datetime(2026, 11, 2, tzinfo=timezone.utc)  # a Monday
HOSTILE = "</script></title><img src=x onerror=document.title='owned'>\"'&"

_TIMES = st.datetimes(datetime(2024, 1, 1), datetime(2026, 11, 20)).map(
    lambda at: at.replace(tzinfo=timezone.utc)
)
_AMOUNTS = st.decimals(-10_000, 10_000, allow_nan=False, places=4) | st.decimals(
    0, 1, allow_nan=False, places=12
)


@st.composite
def odd(draw: st.DrawFn) -> CallRecord:
    """A call with a cost of its own."""
    return costing(
        draw(st.none() | _AMOUNTS),
        draw(st.none() | _AMOUNTS),
        premium=draw(st.none() | _AMOUNTS),
        possibly_billed=draw(st.none() | _AMOUNTS),
        fallback=draw(st.sampled_from([None, "capacity", "timeout"])),
        tags=draw(st.sampled_from([(), ("a",), ("b", "a", "b")])),
        usage=draw(st.just(Usage(10**11, 5)) | st.just(Usage(7, 5))),
    )


@st.composite
def histories(draw: st.DrawFn) -> list[CallRecord]:
    """Calls of any kind at any time."""
    made = draw(st.lists(st.tuples(records() | odd(), _TIMES, st.floats(0, 4_000)), max_size=12))
    return [
        replace(record, call_id=f"call-{number}", at=at, waited=waited)
        for number, (record, at, waited) in enumerate(made)
    ]


def fortnight(model: str = "o3", tag: str = "nightly") -> Iterator[CallRecord]:
    """Calls every hour of two weeks; on weekday afternoons flex refuses, and some fall back."""
    for hour in range(14 * 24):
        at = BEGIN + timedelta(hours=hour)
        busy = at.weekday() < 5 and 14 <= at.hour < 18
        refused = [Attempt("flex", "capacity", 0.2, 429)] * (3 if busy else hour % 29 == 0)
        fallback = busy and at.hour > 15
        lane = "standard" if fallback else "flex"
        yield record_of(
            report(
                *refused,
                Attempt(lane, "served", 20.0, 200),
                model=model if hour % 3 else "gpt-5",
                lane=lane,
                fallback="capacity" if fallback else None,
                usage=Usage(40_000 + hour * 100, 9_000, 10_000),
                id=f"call-{hour}",
                at=at.timestamp(),
                waited=len(refused) * 9.5,
                elapsed=20.0 + len(refused) * 9.7,
            ),
            tags=(tag,) if hour % 2 else (),
        )


def unpriced(**facts: object) -> CallRecord:
    """An answered call of a model without a price."""
    return record_of(report(model="house-model", served_model=None, **facts))


def estimated() -> CallRecord:
    """An answered call whose price is a rule's."""
    call = costing(Decimal("0.25"), Decimal("0.5"))
    return replace(call, cost=replace(call.cost, basis="estimated", reason="a rule"))
