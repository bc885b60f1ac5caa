"""Calls on background windows, in records, totals and ledgers."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

from flextier.calls.report import Attempt
from flextier.costs import CallRecord, CostTotals, Ledger, Usage, record_of
from tests.costs.records import report

MILLION = 1_000_000
AT = datetime(2026, 12, 1, tzinfo=timezone.utc)
USAGE = Usage(1_000, 100)
CANCELLED = Attempt("background-8h", "cancelled", 7_000.0)
SERVED = Attempt("standard", "served", 2.0, 200)

# US$ per million tokens, gpt-6.2-sol: standard 2 and 10, batch 1 and 5, windows 70% and 60%.
STANDARD = (Decimal(2) * 1_000 + Decimal(10) * 100) / MILLION
BATCH = (Decimal(1) * 1_000 + Decimal(5) * 100) / MILLION
TWO_HOURS = (Decimal("1.4") * 1_000 + Decimal(7) * 100) / MILLION
EIGHT_HOURS = (Decimal("1.2") * 1_000 + Decimal(6) * 100) / MILLION


def background(*attempts: Attempt, **facts: Any) -> CallRecord:
    """A call of gpt-6.2-sol that was meant for the window of 8 hours, and billed on it."""
    defaults: dict[str, Any] = {
        "model": "gpt-6.2-sol",
        "served_model": "gpt-6.2-sol",
        "lane": "background-8h",
        "first_lane": "background-8h",
        "usage": USAGE,
        "at": AT.timestamp(),
    }
    attempts = attempts or (Attempt("background-8h", "served", 4_000.0, 200),)
    return record_of(report(*attempts, **{**defaults, **facts}))


def test_what_a_call_cost() -> None:
    """The window's share of standard, next to standard itself."""
    cost = background().cost
    assert (cost.total, cost.standard, cost.basis) == (EIGHT_HOURS, STANDARD, "estimated")


def test_soonest_saves_nothing() -> None:
    """It costs what standard does, exactly."""
    cost = background(lane="background-soonest", first_lane="background-soonest").cost
    assert (cost.total, cost.saved, cost.basis) == (STANDARD, 0, "exact")


def test_what_falling_back_cost() -> None:
    """From the window to standard, and from batch to the window."""
    given_up = background(CANCELLED, SERVED, lane="standard", fallback="timeout")
    assert given_up.premium == STANDARD - EIGHT_HOURS
    later = background(
        Attempt("background-2h", "served", 60.0, 200),
        lane="background-2h",
        first_lane="batch",
        fallback="capacity",
    )
    assert later.premium == TWO_HOURS - BATCH


def test_a_cancelled_response_may_have_been_billed() -> None:
    """At the window's rates at most: the whole input, and as much output as the answer had."""
    record = background(CANCELLED, SERVED, lane="standard", fallback="timeout")
    assert (record.possibly_billed_attempts, record.possibly_billed) == (1, EIGHT_HOURS)


def test_they_add_up(tmp_path: Path) -> None:
    """Each window is a lane of its own, in totals and in a ledger, which gives the records back."""
    made = [
        background(id="one"),
        background(id="two"),
        background(id="three", lane="background-2h", first_lane="background-2h"),
        background(id="four", lane="background-soonest", first_lane="background-soonest"),
    ]
    totals = CostTotals(made)
    assert totals.cost == 2 * EIGHT_HOURS + TWO_HOURS + STANDARD
    assert totals.saved == 4 * STANDARD - totals.cost
    assert totals.by_lane["background-8h"].cost == 2 * EIGHT_HOURS
    assert totals.by_lane["background-2h"].saved == STANDARD - TWO_HOURS
    assert totals.by_lane["background-soonest"].calls == 1
    assert (totals.estimated_calls, totals.unpriced_calls) == (3, 0)
    with Ledger(tmp_path / "flextier.db") as ledger:
        ledger.add_all(made)
        assert ledger.totals() == totals
        assert {lane for (lane,) in ledger.sums("lane")} == set(totals.by_lane)
        kept = {record.call_id: record.cost for record in ledger.records()}
    assert kept == {record.call_id: record.cost for record in made}
