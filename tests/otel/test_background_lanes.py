"""Background windows in telemetry: lanes of their own, with their cost."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal

import pytest
from opentelemetry.context import Context

from flextier.calls.hooks import CallStart
from flextier.calls.report import Attempt, CallReport
from flextier.costs import record_of
from flextier.otel.attributes import of_span
from flextier.otel.meters import Meters
from tests.costs.records import report
from tests.otel.telemetry import Telemetry, attributes_of

SHARES = {
    "background-soonest": Decimal(1),
    "background-2h": Decimal("0.7"),
    "background-8h": Decimal("0.6"),
}
ASKED = CallStart("https://api.openai.com/v1", "/responses", stream=False)
AT = datetime(2026, 12, 1, tzinfo=timezone.utc).timestamp()
# US$ per million tokens, gpt-6.2-sol: 2 and 10.
STANDARD = (Decimal(2) * 1_000 + Decimal(10) * 100) / 1_000_000


def answered(lane: str) -> CallReport:
    """A call of gpt-6.2-sol that was meant for a lane and billed on it."""
    served = Attempt(lane, "served", 4_000.0, 200)
    names = {"model": "gpt-6.2-sol", "served_model": "gpt-6.2-sol"}
    return report(served, lane=lane, first_lane=lane, at=AT, **names)


@pytest.mark.parametrize("lane", SHARES)
def test_a_span_names_the_window_and_its_cost(lane: str) -> None:
    """The share of standard, and what is left of that."""
    call = answered(lane)
    attributes = of_span(ASKED, call, record_of(call).cost)
    assert (attributes["flextier.lane"], attributes["flextier.first_lane"]) == (lane, lane)
    assert attributes["flextier.cost"] == float(STANDARD * SHARES[lane])
    assert attributes["flextier.saved"] == float(STANDARD - STANDARD * SHARES[lane])


@pytest.mark.parametrize("lane", SHARES)
def test_metrics_are_by_window(lane: str, otel: Telemetry) -> None:
    """Cost and saving are counted for the lane, with the basis of the price."""
    call = answered(lane)
    meters = Meters(otel.meter_provider.get_meter("flextier"))
    meters.record(call, record_of(call).cost, {}, Context())
    assert otel.total("flextier.cost") == float(STANDARD * SHARES[lane])
    assert attributes_of(otel.points("flextier.cost")[0]) == {
        "flextier.lane": lane,
        "flextier.basis": "exact" if lane == "background-soonest" else "estimated",
    }
