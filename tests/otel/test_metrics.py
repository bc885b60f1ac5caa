"""The metrics: names, units, what is counted and what is not."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import openai
import pytest
from opentelemetry.sdk.metrics.view import DropAggregation, View
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics

from flextier import track
from flextier.costs import CostTotals, record_of
from flextier.otel.meters import SECONDS, TOKENS
from flextier.sim import Fault, Simulator
from tests.client.callers import FAST, MESSAGES, Caller
from tests.client.test_clients import make
from tests.otel.telemetry import Telemetry, attributes_of

ROOT = Path(__file__).parents[2]
IMPATIENT = FAST.replace(patience=0)

KINDS = {
    "gen_ai.client.token.usage": ("Histogram", "{token}"),
    "gen_ai.client.operation.duration": ("Histogram", "s"),
    "flextier.waited": ("Histogram", "s"),
    "flextier.cost": ("Sum", "{USD}"),
    "flextier.saved": ("Sum", "{USD}"),
    "flextier.unpriced_calls": ("Sum", "{call}"),
    "flextier.refusals": ("Sum", "{attempt}"),
    "flextier.fallbacks": ("Sum", "{call}"),
}


def ask(sim: Simulator, policy: Any = FAST, **arguments: Any) -> None:
    """One call, whatever comes of it."""
    with make(sim, policy=policy) as client, suppress(openai.APIStatusError):
        client.responses.create(**{"model": "o3", "input": "Hi.", **arguments})


def test_names_and_units(sim: Simulator, otel: Telemetry) -> None:
    """All instruments, each with its unit and a description."""
    sim.script(Fault.refuse())
    ask(sim, IMPATIENT)
    ask(sim, model="no-such-price")
    metrics = otel.metrics
    kinds = {name: (type(metric.data).__name__, metric.unit) for name, metric in metrics.items()}
    assert kinds == KINDS
    assert all(metric.description for metric in metrics.values())
    only_up = {name for name, metric in metrics.items() if getattr(metric.data, "is_monotonic", 0)}
    assert only_up == {name for name, kind in KINDS.items() if kind[0] == "Sum"} - {
        "flextier.saved"
    }


def test_the_conventions_metrics(sim: Simulator, otel: Telemetry) -> None:
    """Their names are those of OpenTelemetry's own package, their buckets those it advises."""
    ask(sim)
    theirs = {name for name in otel.metrics if name.startswith("gen_ai.")}
    assert theirs == {
        gen_ai_metrics.GEN_AI_CLIENT_TOKEN_USAGE,
        gen_ai_metrics.GEN_AI_CLIENT_OPERATION_DURATION,
    }
    tokens = otel.points("gen_ai.client.token.usage")[0].explicit_bounds
    seconds = otel.points("gen_ai.client.operation.duration")[0].explicit_bounds
    assert (tokens[0], tokens[-1], len(tokens)) == (1, 67_108_864, 14)
    assert (seconds[0], seconds[13]) == (0.01, 81.92)
    assert (tuple(tokens), tuple(seconds)) == (TOKENS, SECONDS)


def test_tokens_and_seconds(caller: Caller, sim: Simulator, otel: Telemetry) -> None:
    """Every way to make a call records its duration, and its tokens if the answer reports them."""
    sim.script(Fault.serve(usage={"input_tokens": 120, "output_tokens": 80}))
    report = caller(sim.base_url).report
    tokens = {
        attributes_of(point)["gen_ai.token.type"]: point.sum
        for point in otel.points("gen_ai.client.token.usage")
    }
    assert tokens == ({} if report.usage is None else {"input": 120, "output": 80})
    assert otel.count("gen_ai.client.operation.duration") == 1
    assert otel.total("gen_ai.client.operation.duration") == report.elapsed


def test_attributes_are_few(sim: Simulator, otel: Telemetry) -> None:
    """Nothing that differs from call to call is a dimension of a metric."""
    sim.script(Fault.refuse())
    ask(sim, IMPATIENT)
    shared = {
        "gen_ai.operation.name",
        "gen_ai.provider.name",
        "gen_ai.request.model",
        "gen_ai.response.model",
        "openai.request.service_tier",
        "openai.response.service_tier",
        "server.address",
        "server.port",
    }
    more = {
        name: set(attributes_of(otel.points(name)[0])) - shared
        for name in KINDS
        if otel.points(name)
    }
    assert more == {
        "gen_ai.client.token.usage": {"gen_ai.token.type"},
        "gen_ai.client.operation.duration": set(),
        "flextier.waited": {"flextier.lane"},
        "flextier.cost": {"flextier.lane", "flextier.basis"},
        "flextier.saved": {"flextier.lane", "flextier.basis"},
        "flextier.refusals": {"flextier.lane"},
        "flextier.fallbacks": {"flextier.lane", "flextier.fallback"},
    }
    assert all(shared <= set(attributes_of(otel.points(name)[0])) for name in more)


def test_they_come_to_the_totals(sim: Simulator, otel: Telemetry) -> None:
    """What the metrics add up to is what `CostTotals` counts of the same calls."""
    sim.script(
        Fault.serve(), Fault.refuse(), Fault.serve(), Fault.refuse(), Fault.status(404),
        Fault.serve(tier="default"),
    )  # fmt: skip
    with track() as calls:
        for model in ("o3", "o4-mini", "gpt-5", "o3", "no-such-price"):
            ask(sim, IMPATIENT, model=model)
    totals = CostTotals(record_of(report) for report in calls)
    assert (totals.calls, totals.failed_calls, totals.fallback_calls) == (4, 1, 2)
    assert otel.total("flextier.cost") == pytest.approx(float(totals.cost))
    assert otel.total("flextier.saved") == pytest.approx(float(totals.saved))
    assert otel.total("flextier.refusals") == totals.refusals == 2
    assert otel.total("flextier.fallbacks") == totals.fallback_calls
    assert otel.total("flextier.unpriced_calls") == totals.unpriced_calls == 1
    tokens = totals.input_tokens + totals.output_tokens
    assert otel.total("gen_ai.client.token.usage") == tokens
    assert otel.total("flextier.waited") == pytest.approx(sum(call.waited for call in calls))
    assert otel.count("flextier.waited") == otel.count("gen_ai.client.operation.duration") == 5


def test_an_unpriced_call_costs_nothing_known(sim: Simulator, otel: Telemetry) -> None:
    """No point of cost, not even one of 0; the call is counted as unpriced."""
    ask(sim, model="no-such-price")
    assert {"flextier.cost", "flextier.saved"}.isdisjoint(otel.metrics)
    assert otel.total("flextier.unpriced_calls") == 1


def test_a_dearer_lane_saves_less_than_nothing(sim: Simulator, otel: Telemetry) -> None:
    """What was saved goes down again."""
    with make(sim) as client:
        client.chat.completions.create(model="o3", messages=MESSAGES, service_tier="priority")
    assert otel.total("flextier.saved") < 0 < otel.total("flextier.cost")
    assert attributes_of(otel.points("flextier.cost")[0])["flextier.lane"] == "priority"


def test_refusals_count_for_the_lane_that_refused(sim: Simulator, otel: Telemetry) -> None:
    """Also when another lane was billed in the end; the fallback says why."""
    sim.script(Fault.refuse(), Fault.refuse())
    ask(sim, FAST)
    sim.script(Fault.refuse())
    ask(sim, IMPATIENT)
    lanes = [attributes_of(point)["flextier.lane"] for point in otel.points("flextier.refusals")]
    fallback = otel.points("flextier.fallbacks")[0]
    assert (otel.total("flextier.refusals"), set(lanes)) == (3, {"flex"})
    assert (fallback.value, attributes_of(fallback)["flextier.fallback"]) == (1, "capacity")
    assert attributes_of(fallback)["flextier.lane"] == "standard"


def test_a_failed_call_has_a_duration(sim: Simulator, otel: Telemetry) -> None:
    """With the class of its error, and no tokens, cost or fallback."""
    sim.script(Fault.status(404))
    ask(sim)
    point = otel.points("gen_ai.client.operation.duration")[0]
    assert attributes_of(point)["error.type"] == "NotFoundError"
    assert set(otel.metrics) == {"gen_ai.client.operation.duration", "flextier.waited"}


def test_exemplars_lead_to_the_span(sim: Simulator, otel: Telemetry) -> None:
    """A point of a metric names the trace it is from."""
    ask(sim)
    exemplar = otel.points("flextier.cost")[0].exemplars[0]
    assert otel.span.context is not None
    assert exemplar.span_id == otel.span.context.span_id


def test_a_view_can_drop_what_others_record(sim: Simulator) -> None:
    """The way of the docs to keep our own metrics and leave the conventions' to another package."""
    drop = View(instrument_name="gen_ai.*", meter_name="flextier", aggregation=DropAggregation())
    telemetry = Telemetry(views=[drop])
    instrumentation = telemetry.instrument()
    ask(sim)
    instrumentation.uninstrument()
    assert set(telemetry.metrics) == {"flextier.cost", "flextier.saved", "flextier.waited"}
    telemetry.close()


def test_the_docs_name_every_metric() -> None:
    """The table has a line for each, with its unit."""
    table = (ROOT / "docs" / "opentelemetry.md").read_text(encoding="utf-8")
    assert [
        name for name, (_, unit) in KINDS.items() if f"| `{name}` | `{unit}` |" not in table
    ] == []
