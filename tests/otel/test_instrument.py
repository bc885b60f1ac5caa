"""The switch: on, off, once; threads, event loops and frameworks; telemetry that fails."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from pydantic import SecretStr

from flextier import FlexOpenAI, track
from flextier.calls import hooks
from flextier.langchain import ChatOpenAIFlex
from flextier.sim import Fault, Simulator
from tests.client.callers import FAST, KEY
from tests.client.test_clients import make, make_async
from tests.otel.telemetry import Telemetry

ROOT = Path(__file__).parents[2]


def ask(client: FlexOpenAI) -> None:
    """One call."""
    client.responses.create(model="o3", input="Hi.")


def test_uninstrument(sim: Simulator, otel: Telemetry) -> None:
    """Later calls make no spans, and no listener is left."""
    with make(sim) as client:
        ask(client)
        otel.instrument().uninstrument()
        otel.instrument().uninstrument()
        ask(client)
    assert len(otel.spans) == 1
    assert otel.count("gen_ai.client.operation.duration") == 1
    assert not hooks.call_hooks


def test_a_call_under_way_still_makes_its_span(sim: Simulator, otel: Telemetry) -> None:
    """Switched off while a stream is read, its span is made when it ends."""
    with make(sim) as client:
        stream = client.responses.create(model="o3", input="Hi.", stream=True)
        otel.instrument().uninstrument()
        list(stream)
    assert len(otel.spans) == 1


def test_a_call_that_had_begun_before_is_not(sim: Simulator) -> None:
    """A stream that was requested before instrument() makes no span."""
    telemetry = Telemetry()
    with make(sim) as client:
        stream = client.responses.create(model="o3", input="Hi.", stream=True)
        instrumentation = telemetry.instrument()
        list(stream)
    instrumentation.uninstrument()
    assert telemetry.spans == []
    telemetry.close()


def test_two_do_not_double(sim: Simulator, otel: Telemetry) -> None:
    """Instrumented again, with the same providers, it is the same instrumentation."""
    assert otel.instrument() is otel.instrument()
    with make(sim) as client:
        ask(client)
    assert len(otel.spans) == 1
    assert otel.count("gen_ai.client.operation.duration") == 1


def test_other_providers_are_a_conflict(sim: Simulator, otel: Telemetry) -> None:
    """Until the first instrumentation is off, a second one says what to do."""
    other = Telemetry()
    with pytest.raises(RuntimeError, match=r"uninstrument\(\)"):
        other.instrument()
    otel.instrument().uninstrument()
    instrumentation = other.instrument()
    with make(sim) as client:
        ask(client)
    instrumentation.uninstrument()
    assert (len(otel.spans), len(other.spans)) == (0, 1)
    other.close()


def test_providers_that_are_set_later(sim: Simulator) -> None:
    """Without arguments the global providers count, also when they come after `instrument()`."""
    code = """
from flextier.otel import instrument
instrument()
from opentelemetry import metrics, trace
from tests.otel.telemetry import Telemetry
telemetry = Telemetry()
trace.set_tracer_provider(telemetry.tracer_provider)
metrics.set_meter_provider(telemetry.meter_provider)
from flextier import FlexOpenAI
FlexOpenAI().responses.create(model="o3", input="Hi.")
print(telemetry.span.name, telemetry.count("gen_ai.client.operation.duration"))
"""
    env = {**os.environ, "OPENAI_BASE_URL": sim.base_url, "OPENAI_API_KEY": KEY}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=env, capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.stdout == "chat o3 1\n", done.stderr


def test_without_the_library() -> None:
    """The error names the extra."""
    code = "import sys; sys.modules['opentelemetry'] = None; import flextier.otel"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'pip install "flextier[otel]"' in done.stderr


# --- wherever calls are made ------------------------------------------------------------------


def test_threads(sim: Simulator, otel: Telemetry) -> None:
    """Calls in bare threads make spans, each within the span of its own thread."""
    sim.script(*[Fault.refuse()] * 6)

    def work(client: FlexOpenAI) -> int:
        with otel.tracer.start_as_current_span("mine") as mine:
            ask(client)
        return mine.get_span_context().span_id

    with make(sim) as client, ThreadPoolExecutor(6) as pool:
        parents = list(pool.map(work, [client] * 24))
    assert sorted(parents) == sorted(parent_of(span) for span in otel.spans)
    assert otel.count("gen_ai.client.operation.duration") == 24
    assert otel.total("flextier.refusals") == 6


def parent_of(span: ReadableSpan) -> int:
    """The id of the span around one."""
    assert span.parent is not None
    return span.parent.span_id


def test_event_loops(sim: Simulator, otel: Telemetry) -> None:
    """Calls at once in one loop, and in several loops, keep to the spans they were made in."""

    async def work(client: Any) -> int:
        with otel.tracer.start_as_current_span("mine") as mine:
            await client.responses.create(model="o3", input="Hi.")
        return mine.get_span_context().span_id

    async def several() -> list[int]:
        async with make_async(sim) as client:
            return list(await asyncio.gather(*(work(client) for _ in range(6))))

    with ThreadPoolExecutor(3) as pool:
        loops = list(pool.map(asyncio.run, (several() for _ in range(3))))
    parents = [parent for loop in loops for parent in loop]
    assert sorted(parents) == sorted(parent_of(span) for span in otel.spans)
    assert len(parents) == 18


def test_langchain(sim: Simulator, otel: Telemetry) -> None:
    """LangChain's batch makes its spans, in threads of its own, within the span around it."""
    llm = ChatOpenAIFlex(model="o3", base_url=sim.base_url, api_key=SecretStr(KEY), policy=FAST)
    with otel.tracer.start_as_current_span("mine") as mine:
        llm.batch(["One.", "Two.", "Three."])
    assert [parent_of(span) for span in otel.spans] == [mine.get_span_context().span_id] * 3


def test_raw_answers(sim: Simulator, otel: Telemetry) -> None:
    """Raw responses, and bodies that the caller reads, are calls like others."""
    with make(sim) as client:
        client.responses.with_raw_response.create(model="o3", input="Hi.")
        with client.responses.with_streaming_response.create(model="o3", input="Hi.") as raw:
            raw.parse()
    assert [span.name for span in otel.spans] == ["chat o3", "chat o3"]


def test_calls_that_are_not_routed_make_no_spans(sim: Simulator, otel: Telemetry) -> None:
    """Embeddings and models pass flextier untouched."""
    with make(sim) as client:
        client.embeddings.create(model="text-embedding-3-small", input="Hi.")
        client.models.list()
    assert (otel.spans, otel.metrics) == ([], {})


# --- telemetry that fails ---------------------------------------------------------------------


class Broken(SpanProcessor):
    """A processor with a bug."""

    def on_end(self, span: ReadableSpan) -> None:
        """Fail."""
        raise KeyError("a bug")


def test_telemetry_that_fails_harms_no_call(
    sim: Simulator, otel: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer is returned, other listeners are notified, and the loss is logged."""
    otel.tracer_provider.add_span_processor(Broken())
    with make(sim) as client, track() as calls:
        ask(client)
    assert calls[0].served
    assert caplog.messages == [f"the telemetry of call {calls[0].id} is lost"]
    assert caplog.records[0].name == "flextier.otel.spans"
