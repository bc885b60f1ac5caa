"""Beside another instrumentation, a call is one span of a model call, with the right money."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flextier import FlexOpenAI, track
from flextier.sim import Simulator
from tests.client.callers import FAST, MESSAGES, Caller
from tests.otel.telemetry import Telemetry, attributes_of, events_of

MARKS = [
    {"langfuse.observation.type": "generation"},
    {"openinference.span.kind": "LLM"},
    {"gen_ai.operation.name": "chat"},
]


@pytest.mark.parametrize("mark", MARKS, ids=lambda mark: next(iter(mark)))
def test_the_span_of_the_call_gets_the_money(
    mark: dict[str, str], sim: Simulator, otel: Telemetry, caller: Caller
) -> None:
    """By the names that platforms read, as the report has it; there is no second span."""
    with track() as calls, otel.tracer.start_as_current_span("theirs", attributes=mark):
        caller(sim.base_url)
    (span,) = otel.finished
    attributes, cost = attributes_of(span), calls[0].cost
    assert cost.total is not None
    assert cost.all_input is not None
    assert cost.output is not None
    assert attributes["flextier.lane"] == calls[0].lane == "flex"
    assert attributes["gen_ai.usage.cost"] == attributes["llm.cost.total"] == float(cost.total)
    assert json.loads(attributes["langfuse.observation.cost_details"]) == {
        "input": float(cost.all_input), "output": float(cost.output), "total": float(cost.total),
    }  # fmt: skip
    assert len(events_of(span)) == 1
    assert otel.total("flextier.cost") == pytest.approx(float(cost.total))


def test_a_span_that_has_ended_before_the_stream(sim: Simulator, otel: Telemetry) -> None:
    """It gets a child, which is no second span of a model call."""
    client = FlexOpenAI(base_url=sim.base_url, api_key="x", policy=FAST)
    with otel.tracer.start_as_current_span("theirs", attributes=MARKS[0]) as outer:
        stream = client.chat.completions.create(model="o3", messages=MESSAGES, stream=True)
    for _ in stream:
        pass
    span = otel.span
    assert span.parent == outer.get_span_context()
    assert span.name == "flextier o3"
    assert not [name for name in attributes_of(span) if name.startswith("gen_ai.")]


@pytest.mark.parametrize(
    "attributes",
    [{}, {"gen_ai.operation.name": "invoke_agent"}, {"langfuse.observation.type": "chain"}],
)
def test_the_span_of_something_else(
    attributes: Any, sim: Simulator, otel: Telemetry, plain: Caller
) -> None:
    """An agent, a chain, a request of a server: the call has a span of its own inside."""
    with otel.tracer.start_as_current_span("theirs", attributes=attributes):
        plain(sim.base_url)
    assert otel.span.name == "chat o3"
    assert attributes_of(otel.span)["gen_ai.usage.cost"] > 0


def test_the_first_span_begins_with_the_call() -> None:
    """What the SDK imports at its first call is imported before."""
    program = (
        "import sys; from flextier.otel import instrument; instrument(); before = set(sys.modules);"
        "from flextier import FlexOpenAI; client = FlexOpenAI(api_key='x');"
        "client.chat.completions; client.responses;"
        "print([name for name in set(sys.modules) - before if name.startswith('openai.')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == "[]"
