"""One span a call: its name, its times, its attributes, its attempts as events."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
from opentelemetry.semconv._incubating.attributes import (
    error_attributes,
    gen_ai_attributes,
    http_attributes,
    openai_attributes,
    server_attributes,
)
from opentelemetry.trace import SpanKind, StatusCode

from flextier import FlexOpenAI, FlexPolicy, track
from flextier._openai.http_library import http
from flextier.sim import Fault, Simulator
from tests.client.callers import FAST, MESSAGES, Caller
from tests.client.test_clients import Colour, make, make_async
from tests.otel.telemetry import Telemetry, attributes_of, events_of

ROOT = Path(__file__).parents[2]
FLEX_ONLY = FAST.replace(lanes=("flex",), patience=0)
SECRET = "the-recipe-of-the-sauce"
TOKENS = {
    "input_tokens": 1000,
    "output_tokens": 500,
    "cached_input_tokens": 250,
    "cache_write_tokens": 100,
    "reasoning_tokens": 320,
}

CONVENTIONS = {
    value
    for module in (
        error_attributes, gen_ai_attributes, http_attributes, openai_attributes, server_attributes,
    )
    for name, value in vars(module).items()
    if name.isupper() and isinstance(value, str)
}  # fmt: skip


def make_offline(transport: Any, policy: FlexPolicy) -> FlexOpenAI:
    """A client that reaches no server."""
    client = http.Client(transport=transport)
    return FlexOpenAI(
        api_key="sk-fake", base_url="https://api.example.com/v1", policy=policy, http_client=client
    )


# --- a call that is answered ------------------------------------------------------------------


def test_one_span_a_call(caller: Caller, sim: Simulator, otel: Telemetry) -> None:
    """Every way to make a call makes one client span, with model, tiers, server and API."""
    caller(sim.base_url)
    span, url = otel.span, urlsplit(sim.base_url)
    attributes = attributes_of(span)
    assert (span.name, span.kind, span.status.status_code) == (
        "chat o3", SpanKind.CLIENT, StatusCode.UNSET,
    )  # fmt: skip
    assert attributes["gen_ai.operation.name"] == "chat"
    assert attributes["gen_ai.provider.name"] == "openai"
    assert (attributes["gen_ai.request.model"], attributes["gen_ai.response.model"]) == ("o3", "o3")
    assert attributes["openai.request.service_tier"] == "flex"
    assert attributes["openai.response.service_tier"] == "flex"
    apis = {"chat": "chat_completions", "responses": "responses"}
    assert attributes["openai.api.type"] == apis[caller.api]
    assert attributes.get("gen_ai.request.stream", False) is caller.stream
    assert (attributes["server.address"], attributes["server.port"]) == (url.hostname, url.port)
    assert "error.type" not in attributes


def test_it_is_the_call_of_the_report(sim: Simulator, otel: Telemetry) -> None:
    """Tokens, money and our own attributes are those of the report, which has the same id."""
    sim.script(Fault.serve(usage=TOKENS))
    with make(sim) as client, track() as calls:
        client.chat.completions.create(model="o3", messages=MESSAGES, max_completion_tokens=900)
    report, attributes = calls[0], attributes_of(otel.span)
    assert attributes["flextier.call_id"] == report.id
    assert attributes["gen_ai.request.max_tokens"] == 900
    assert attributes["gen_ai.usage.input_tokens"] == 1000
    assert attributes["gen_ai.usage.output_tokens"] == 500
    assert attributes["gen_ai.usage.cache_read.input_tokens"] == 250
    assert attributes["gen_ai.usage.cache_creation.input_tokens"] == 100
    assert attributes["gen_ai.usage.reasoning.output_tokens"] == 320
    assert attributes["flextier.cost"] == float(report.cost.total or 0) > 0
    assert attributes["flextier.saved"] == float(report.cost.saved or 0) > 0
    assert (attributes["flextier.basis"], attributes["flextier.lane"]) == ("exact", "flex")
    assert (attributes["flextier.attempts"], attributes["flextier.refusals"]) == (1, 0)


def test_names_are_those_of_the_conventions(sim: Simulator, otel: Telemetry) -> None:
    """What is not under ``flextier.`` is spelled as in OpenTelemetry's package; docs name all."""
    sim.script(Fault.refuse(), Fault.serve(usage=TOKENS), Fault.refuse(), Fault.status(400))
    with make(sim, policy=FAST.replace(patience=0)) as client:
        client.responses.create(model="o3", input="Hi.", max_output_tokens=900)
        with pytest.raises(openai.BadRequestError):
            client.responses.create(model="o3", input="Hi.", stream=True)
    names = {name for span in otel.spans for name in attributes_of(span)}
    names |= {name for span in otel.spans for event in span.events for name in attributes_of(event)}
    theirs = {name for name in names if not name.startswith("flextier.")}
    assert theirs - {"gen_ai.usage.cost"} <= CONVENTIONS  # that one is Langfuse's
    docs = (ROOT / "docs" / "opentelemetry.md").read_text(encoding="utf-8")
    assert [name for name in names if f"`{name}`" not in docs] == []


def test_unknown_values_are_no_attributes(sim: Simulator, otel: Telemetry) -> None:
    """A chat stream without usage has no tokens and no cost: neither is 0."""
    with make(sim) as client:
        options: Any = {"include_usage": False}
        list(
            client.chat.completions.create(
                model="o3", messages=MESSAGES, stream=True, stream_options=options
            )
        )
    attributes = attributes_of(otel.span)
    assert attributes["flextier.basis"] == "unpriced"
    absent = {"gen_ai.usage.input_tokens", "flextier.cost", "flextier.saved", "flextier.fallback"}
    assert absent.isdisjoint(attributes)


def test_no_text(caller: Caller, sim: Simulator, otel: Telemetry) -> None:
    """Neither the prompt nor the answer nor an error that quotes them is in a span or a metric."""
    sim.script(
        Fault.serve(text=SECRET), Fault.status(400, message=f"no: {SECRET}", param="messages")
    )
    prompt: dict[str, Any] = {"user": SECRET}
    caller(sim.base_url, **prompt)
    assert caller(sim.base_url, **prompt).error is not None
    assert len(otel.spans) == 2
    assert SECRET not in "".join(span.to_json() for span in otel.spans)
    assert SECRET not in str(otel.metrics)


# --- its place in a trace ---------------------------------------------------------------------


def test_nested_in_the_users_span(caller: Caller, sim: Simulator, otel: Telemetry) -> None:
    """It is a child of the span that the call was made in, and within its times."""
    sim.script(Fault.refuse())
    with otel.tracer.start_as_current_span("mine") as mine:
        caller(sim.base_url)
    span, parent = otel.span, otel.finished[-1]
    assert parent.name == "mine"
    assert span.parent == mine.get_span_context()
    times = [parent.start_time, span.start_time, *(event.timestamp for event in span.events)]
    times += [span.end_time, parent.end_time]
    assert times == sorted(times, key=lambda time: time or 0)


def test_a_root_span(sim: Simulator, otel: Telemetry) -> None:
    """Outside of any span it is a trace of its own."""
    with make(sim) as client:
        client.responses.create(model="o3", input="Hi.")
        client.responses.create(model="o3", input="Hi.")
    assert [span.parent for span in otel.spans] == [None, None]
    assert len({span.context.trace_id for span in otel.spans if span.context}) == 2


def test_a_stream_belongs_where_it_was_begun(sim: Simulator, otel: Telemetry) -> None:
    """Read in another span, later, it is a child of the one it was asked for in, to its end."""
    with make(sim) as client:
        with otel.tracer.start_as_current_span("asking") as asking:
            stream = client.responses.create(model="o3", input="Hi.", stream=True)
        assert otel.spans == []
        with otel.tracer.start_as_current_span("reading"):
            list(stream)
    assert otel.span.parent == asking.get_span_context()
    assert (otel.span.end_time or 0) > (otel.finished[0].end_time or 0)


# --- attempts ---------------------------------------------------------------------------------


def test_attempts_are_events(caller: Caller, sim: Simulator, otel: Telemetry) -> None:
    """Each with lane, outcome and status, and the wait for the next where there was one."""
    sim.script(Fault.refuse(), Fault.status(503))
    report = caller(sim.base_url).report
    attributes = events_of(otel.span)
    assert [event["flextier.outcome"] for event in attributes] == [
        "capacity",
        "transient",
        "served",
    ]
    assert [event["flextier.lane"] for event in attributes] == ["flex"] * 3
    assert [event["http.response.status_code"] for event in attributes] == [429, 503, 200]
    assert ["flextier.wait" in event for event in attributes] == [True, True, False]
    assert [event["flextier.seconds"] for event in attributes] == [
        a.seconds for a in report.attempts
    ]
    assert attributes[0]["flextier.request_id"] == report.attempts[0].request_id
    assert attributes_of(otel.span)["flextier.refusals"] == 1
    assert attributes_of(otel.span)["flextier.waited"] == report.waited


def test_a_fallback_is_an_event(caller: Caller, sim: Simulator, otel: Telemetry) -> None:
    """The event follows the refusal that caused it, with both lanes; the tiers show it, too."""
    sim.script(Fault.refuse())
    caller(sim.base_url, FAST.replace(patience=0))
    attributes = attributes_of(otel.span)
    assert [event.name for event in otel.span.events] == [
        "flextier.attempt", "flextier.fallback", "flextier.attempt",
    ]  # fmt: skip
    assert events_of(otel.span, "flextier.fallback") == [
        {
            "flextier.fallback": "capacity",
            "flextier.first_lane": "flex",
            "flextier.lane": "standard",
        }
    ]
    assert attributes["openai.request.service_tier"] == "flex"
    assert attributes["openai.response.service_tier"] == "default"
    assert (attributes["flextier.first_lane"], attributes["flextier.lane"]) == ("flex", "standard")
    assert attributes["flextier.fallback"] == "capacity"


def test_a_lane_known_to_be_shut(sim: Simulator, otel: Telemetry) -> None:
    """A call that does not even try it falls back where it begins."""
    sim.script(Fault.unsupported())
    with make(sim) as client:
        client.responses.create(model="o3", input="Hi.")
        client.responses.create(model="o3", input="Hi.")
    span = otel.spans[1]
    assert [event.name for event in span.events] == ["flextier.fallback", "flextier.attempt"]
    assert span.events[0].timestamp == span.start_time
    assert attributes_of(span)["flextier.fallback"] == "lane_unsupported"


def test_a_tier_that_the_server_changed(sim: Simulator, otel: Telemetry) -> None:
    """The requested tier and the billed tier are separate attributes."""
    sim.script(Fault.serve(tier="default"))
    with make(sim) as client:
        client.responses.create(model="o3", input="Hi.")
    attributes = attributes_of(otel.span)
    assert attributes["openai.request.service_tier"] == "flex"
    assert attributes["openai.response.service_tier"] == "default"
    assert [event.name for event in otel.span.events] == ["flextier.attempt", "flextier.fallback"]


def test_a_tier_of_the_callers(sim: Simulator, otel: Telemetry) -> None:
    """A tier that is none of our lanes keeps its name."""
    with make(sim) as client:
        client.responses.create(model="o3", input="Hi.", service_tier="priority")
    attributes = attributes_of(otel.span)
    assert (
        attributes["openai.request.service_tier"]
        == attributes["openai.response.service_tier"]
        == "priority"
    )


# --- a call that is not answered --------------------------------------------------------------


def test_a_failed_call(caller: Caller, sim: Simulator, otel: Telemetry) -> None:
    """The span is one of an error, named by its class, with no tier of an answer."""
    sim.script(Fault.refuse())
    assert isinstance(caller(sim.base_url, FLEX_ONLY).error, openai.RateLimitError)
    attributes = attributes_of(otel.span)
    assert otel.span.status.status_code is StatusCode.ERROR
    assert otel.span.status.description is None
    assert attributes["error.type"] == "RateLimitError"
    assert "openai.response.service_tier" not in attributes
    assert [event["flextier.outcome"] for event in events_of(otel.span)] == ["capacity"]


def test_a_failure_without_an_exception(otel: Telemetry) -> None:
    """A response of status "failed" is handed over by the SDK; the span names the kind."""
    failed = {"id": "resp_1", "object": "response", "status": "failed", "output": []} | {
        "error": {"code": "server_error", "message": "the model stumbled"}
    }
    transport = http.MockTransport(lambda request: http.Response(200, json=failed))
    policy = FLEX_ONLY.replace(max_retries=0)
    with make_offline(transport, policy) as client:
        client.responses.create(model="o3", input="Hi.")
    assert attributes_of(otel.span)["error.type"] == "transient"
    assert otel.span.status.status_code is StatusCode.ERROR


def test_the_default_port_is_an_attribute(otel: Telemetry) -> None:
    """https means 443."""
    transport = http.MockTransport(lambda request: http.Response(400, json={}))
    with make_offline(transport, FLEX_ONLY) as client, pytest.raises(openai.BadRequestError):
        client.responses.create(model="o3", input="Hi.")
    attributes = attributes_of(otel.span)
    assert (attributes["server.address"], attributes["server.port"]) == ("api.example.com", 443)


@pytest.mark.parametrize(
    "fault", [Fault.stall(), Fault.refuse(retry_after=100)], ids=["in-an-attempt", "in-a-wait"]
)
async def test_a_cancelled_call(fault: Fault, sim: Simulator, otel: Telemetry) -> None:
    """Its span ends where it was cancelled, as an error."""
    sim.script(fault)
    async with make_async(sim) as client:
        task = asyncio.ensure_future(client.responses.create(model="o3", input="Hi."))
        while not sim.requests:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert attributes_of(otel.span)["error.type"] == "CancelledError"
    assert len(events_of(otel.span)) == 1


def test_a_stream_that_is_closed(sim: Simulator, otel: Telemetry) -> None:
    """A reader who has read enough makes no error, and has had no whole answer."""
    with (
        make(sim) as client,
        client.responses.create(model="o3", input="Hi.", stream=True) as stream,
    ):
        next(iter(stream))
    attributes = attributes_of(otel.span)
    assert otel.span.status.status_code is StatusCode.UNSET
    assert {"error.type", "openai.response.service_tier"}.isdisjoint(attributes)
    assert events_of(otel.span)[0]["flextier.outcome"] == "cancelled"
    assert attributes["flextier.possibly_billed_attempts"] == 1


def test_a_stream_that_breaks_off(stream: Caller, sim: Simulator, otel: Telemetry) -> None:
    """The span ends when the stream does, with the error that the reader had."""
    sim.script(Fault.stream_reset(after=4))
    error = stream(sim.base_url).error
    assert attributes_of(otel.span)["error.type"] == type(error).__name__
    assert events_of(otel.span)[-1]["flextier.outcome"] == "interrupted"


def test_an_answer_that_does_not_parse(sim: Simulator, otel: Telemetry) -> None:
    """It was answered and billed, and still raised: the span says both."""
    sim.script(Fault.serve(text="this is no colour"))
    with make(sim) as client, pytest.raises(ValueError, match="JSON"):
        client.chat.completions.parse(model="o3", messages=MESSAGES, response_format=Colour)
    attributes = attributes_of(otel.span)
    assert attributes["error.type"] == "ValidationError"
    assert attributes["openai.response.service_tier"] == "flex"
    assert attributes["flextier.cost"] > 0
