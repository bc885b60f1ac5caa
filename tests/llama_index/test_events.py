"""LlamaIndex's instrumentation receives our events in the LLM's span, and its own unchanged."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import openai
import pytest
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.llm import (
    LLMChatEndEvent,
    LLMChatStartEvent,
    LLMCompletionEndEvent,
    LLMCompletionStartEvent,
)
from llama_index.core.instrumentation.span_handlers import BaseSpanHandler
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from flextier import override, track
from flextier.llama_index import FlexCallEvent, FlexFallbackEvent, FlexRetryEvent
from flextier.sim import Fault, Simulator
from tests.client.callers import FAST
from tests.llama_index.callers import (
    CHAT,
    EVERY_STREAM,
    EVERY_WAY,
    PROMPT,
    LlamaCaller,
    aclosed,
    closed,
)
from tests.llama_index.llms import OURS, THEIRS, make

over_every_way = pytest.mark.parametrize("caller", EVERY_WAY, ids=str)
over_classes = pytest.mark.parametrize("cls", OURS)


class Events(BaseEventHandler):
    """Notes every event."""

    seen: list[Any] = []  # noqa: RUF012 - pydantic copies it

    def handle(self, event: Any, **_: Any) -> None:
        """Note the event."""
        self.seen.append(event)

    def of(self, *kinds: Any) -> list[Any]:
        """The events of some kinds, in order."""
        return [event for event in self.seen if isinstance(event, kinds)]


class Spans(BaseSpanHandler[Any]):
    """Notes every span, with its parent and how it ended."""

    parents: dict[str, str | None] = {}  # noqa: RUF012 - pydantic copies it
    ends: list[tuple[str, str]] = []  # noqa: RUF012 - pydantic copies it

    def new_span(self, id_: str, *_: Any, parent_span_id: str | None = None, **__: Any) -> None:
        """Note the span."""
        self.parents[id_] = parent_span_id

    def prepare_to_exit_span(self, id_: str, *_: Any, **__: Any) -> None:
        """Note the end."""
        self.ends.append((id_, "exit"))

    def prepare_to_drop_span(self, id_: str, *_: Any, **__: Any) -> None:
        """Note the end."""
        self.ends.append((id_, "drop"))

    def span_exit(self, id_: str, *_: Any, **__: Any) -> None:
        """Note the end."""
        self.prepare_to_exit_span(id_)

    def span_drop(self, id_: str, *_: Any, **__: Any) -> None:
        """Note the end."""
        self.prepare_to_drop_span(id_)


@dataclass
class Recorder:
    """What two handlers on the root dispatcher have noted."""

    events: Events
    spans: Spans

    def start(self) -> Any:
        """The one event that began the call."""
        [start] = self.events.of(LLMChatStartEvent, LLMCompletionStartEvent)
        return start

    def take(self, cls: Any) -> dict[str, Any]:
        """What was noted so far, without ids, and with the class called LLM."""

        def anonymous(text: str | None) -> str | None:
            return text and text[:-37].replace(f"{cls.__name__}.", "LLM.")  # less `-` and a UUID

        noted = {
            "events": [
                (event.class_name(), anonymous(event.span_id))
                for event in self.events.seen
                if not isinstance(event, FlexCallEvent)
            ],
            "spans": [
                (anonymous(i), anonymous(parent)) for i, parent in self.spans.parents.items()
            ],
            "ends": [(anonymous(i), how) for i, how in self.spans.ends],
        }
        for one in (self.events.seen, self.spans.parents, self.spans.ends):
            one.clear()
        return noted


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """Handlers on the root dispatcher, which every event and span reaches."""
    root = get_dispatcher()
    recorder = Recorder(Events(), Spans())
    root.add_event_handler(recorder.events)
    root.add_span_handler(recorder.spans)
    yield recorder
    root.event_handlers.remove(recorder.events)
    root.span_handlers.remove(recorder.spans)


# --- our events ---------------------------------------------------------------------------------


@over_every_way
def test_a_retry_is_an_event(caller: LlamaCaller, recorder: Recorder, sim: Simulator) -> None:
    """Each retry is an event in the LLM's span: what failed, which lane is next, and when."""
    sim.script(Fault.refuse(), Fault.status(500))

    outcome = caller(sim.base_url, FAST.replace(lanes=("flex",)))

    retries = recorder.events.of(FlexRetryEvent)
    failed = outcome.report.attempts[:-1]
    assert [one.reason for one in retries] == ["capacity", "transient"]
    assert [one.status for one in retries] == [429, 500]
    assert [one.request_id for one in retries] == [attempt.request_id for attempt in failed]
    assert {(one.model, one.lane, one.failed_lane) for one in retries} == {("o3", "flex", "flex")}
    assert 0 < retries[0].wait <= 3, "as long as refusals take, which is learnt"
    assert 0 <= retries[1].wait <= 0.02
    assert {one.span_id for one in retries} == {recorder.start().span_id}
    assert recorder.events.of(FlexFallbackEvent) == []


@over_every_way
def test_a_fallback_is_an_event(caller: LlamaCaller, recorder: Recorder, sim: Simulator) -> None:
    """The change of lane is one event with the report, in the LLM's span."""
    sim.script(Fault.refuse())

    outcome = caller(sim.base_url, FAST.replace(patience=0))

    [retry] = recorder.events.of(FlexRetryEvent)
    [fallback] = recorder.events.of(FlexFallbackEvent)
    assert (retry.failed_lane, retry.lane, retry.wait) == ("flex", "standard", 0)
    assert (fallback.model, fallback.lane, fallback.reason) == ("o3", "standard", "capacity")
    assert fallback.report == outcome.report.to_dict()
    assert fallback.span_id == recorder.start().span_id
    assert recorder.start().span_id in recorder.spans.parents


@over_every_way
def test_a_call_that_is_answered_at_once_has_no_events_of_ours(
    caller: LlamaCaller, recorder: Recorder, sim: Simulator
) -> None:
    """A call without retry and fallback emits neither event."""
    caller(sim.base_url)

    assert recorder.events.of(FlexRetryEvent, FlexFallbackEvent) == []


@over_every_way
def test_a_downgrade_is_a_fallback(caller: LlamaCaller, recorder: Recorder, sim: Simulator) -> None:
    """A tier that the server changed by itself is an event without a retry."""
    sim.script(Fault.serve(tier="default"))

    caller(sim.base_url)

    [fallback] = recorder.events.of(FlexFallbackEvent)
    assert (fallback.lane, fallback.reason) == ("standard", "downgraded")
    assert recorder.events.of(FlexRetryEvent) == []


@over_every_way
def test_a_fallback_without_an_answer_is_an_event(
    caller: LlamaCaller, recorder: Recorder, sim: Simulator
) -> None:
    """A call that failed on its second lane has left its first one."""
    sim.script(Fault.refuse(), Fault.quota())

    outcome = caller(sim.base_url, FAST.replace(patience=0))

    [fallback] = recorder.events.of(FlexFallbackEvent)
    assert isinstance(outcome.error, openai.RateLimitError)
    assert fallback.report == outcome.report.to_dict()
    assert fallback.span_id == recorder.start().span_id


@pytest.mark.parametrize("stream", [s for s in EVERY_STREAM if not s.is_async], ids=str)
def test_a_stream_that_is_read_elsewhere_stays_in_its_span(
    stream: LlamaCaller, recorder: Recorder, sim: Simulator
) -> None:
    """The events of a stream belong to the span that requested it, not to the one that reads it."""
    sim.script(Fault.refuse())
    llm = make(stream.cls, sim)
    with closed(llm):
        chunks = getattr(llm, stream.name)(stream.question)
        contextvars.Context().run(list, chunks)

    [retry] = recorder.events.of(FlexRetryEvent)
    assert retry.span_id == recorder.start().span_id


def test_the_events_as_plain_data(recorder: Recorder, sim: Simulator) -> None:
    """They serialise like LlamaIndex's, by their class names."""
    sim.script(Fault.refuse())
    EVERY_WAY[0](sim.base_url, FAST.replace(patience=0))

    for event in recorder.events.of(FlexRetryEvent, FlexFallbackEvent):
        data = event.model_dump()
        assert data["class_name"] == type(event).__name__ == event.class_name()
        assert data["lane"] == "standard"
        assert type(event).model_validate_json(event.model_dump_json()).lane == "standard"


# --- structured answers -------------------------------------------------------------------------


class Colour(BaseModel):
    """A colour."""

    name: str


STRUCTURED = PromptTemplate("Name a colour. Use Colour.")


async def _astream_structured(llm: Any) -> None:
    stream = await llm.astream_structured_predict(Colour, STRUCTURED)
    _ = [one async for one in stream]


STRUCTURES: dict[str, Callable[[Any], Awaitable[Any] | None]] = {
    "structured_predict": lambda llm: llm.structured_predict(Colour, STRUCTURED),
    "astructured_predict": lambda llm: llm.astructured_predict(Colour, STRUCTURED),
    "stream_structured_predict": lambda llm: (
        list(llm.stream_structured_predict(Colour, STRUCTURED)) and None
    ),
    "astream_structured_predict": _astream_structured,
}


async def _run(llm: Any, ask: Callable[[Any], Awaitable[Any] | None]) -> None:
    """Ask, in whichever colour the question is, and close the clients."""
    async with aclosed(llm):
        with closed(llm):
            answer = ask(llm)
            if hasattr(answer, "__await__"):
                await answer


@pytest.mark.parametrize("ask", STRUCTURES.values(), ids=STRUCTURES)
@over_classes
@pytest.mark.sampled(2)
def test_structured_answers_emit_events(
    cls: Any, ask: Any, recorder: Recorder, sim: Simulator
) -> None:
    """The events are in the LLM's innermost span: that of its chat if there is one."""
    sim.script(Fault.refuse())
    with track() as calls:
        asyncio.run(_run(make(cls, sim, policy=FAST.replace(patience=0)), ask))

    [report] = calls
    [retry] = recorder.events.of(FlexRetryEvent)
    [fallback] = recorder.events.of(FlexFallbackEvent)
    starts = recorder.events.of(LLMChatStartEvent)
    innermost = starts[0].span_id if starts else list(recorder.spans.parents)[-1]
    assert innermost.startswith(f"{cls.__name__}.")
    assert retry.span_id == fallback.span_id == innermost
    assert fallback.report == report.to_dict()
    assert len(sim.requests) == 2


# --- LlamaIndex's own events and spans ----------------------------------------------------------


def weather(city: str) -> str:
    """Describe the weather of a city."""
    return city


TOOL = FunctionTool.from_defaults(weather)
ASK = "Call weather for Oslo."

WAYS: dict[str, Callable[[Any], Awaitable[Any] | None]] = {
    **STRUCTURES,
    "predict": lambda llm: llm.predict(STRUCTURED),
    "apredict": lambda llm: llm.apredict(STRUCTURED),
    "chat_with_tools": lambda llm: llm.chat_with_tools([TOOL], user_msg=ASK),
    "achat_with_tools": lambda llm: llm.achat_with_tools([TOOL], user_msg=ASK),
    "predict_and_call": lambda llm: llm.predict_and_call([TOOL], user_msg=ASK),
    "as_structured_llm": lambda llm: llm.as_structured_llm(Colour).complete(PROMPT),
}


def _ask(caller: LlamaCaller) -> Callable[[Any], Awaitable[Any]]:
    async def ask(llm: Any) -> list[Any]:
        answer = getattr(llm, caller.name)(caller.question)
        if caller.is_async:
            answer = await answer
        if not caller.stream:
            return [answer]
        return [one async for one in answer] if caller.is_async else list(answer)

    return ask


ALL_WAYS = {str(caller).partition("-")[2]: _ask(caller) for caller in EVERY_WAY}
KINDS = {
    **{f"{cls.__name__}-{name}": (cls, ask) for cls in OURS for name, ask in WAYS.items()},
    **{name: (next(c for c in OURS if name.startswith(f"{c.__name__}-")), ask)
       for name, ask in ALL_WAYS.items()},
}  # fmt: skip


@pytest.mark.parametrize("fault", [None, Fault.status(401)], ids=["answered", "failed"])
@pytest.mark.parametrize(("cls", "ask"), KINDS.values(), ids=KINDS)
@pytest.mark.sampled(3)
def test_events_and_spans_are_llama_indexs(
    cls: Any, ask: Any, fault: Fault | None, recorder: Recorder, sim: Simulator
) -> None:
    """Same spans, nested alike and ended alike, and same events in them but for our own."""
    noted = []
    for one in (THEIRS[cls], cls):
        sim.script(*([fault] if fault else []))
        try:
            asyncio.run(_run(make(one, sim), ask))
        except openai.AuthenticationError:
            assert fault is not None
        noted.append(recorder.take(one))

    theirs, ours = noted
    assert ours == theirs
    assert theirs["spans"]


@over_every_way
def test_chunks_are_llama_indexs(caller: LlamaCaller, sim: Simulator) -> None:
    """Chunk for chunk the same deltas, the same texts, and the same fields but for the report."""
    said = []
    for cls in (THEIRS[caller.cls], caller.cls):
        answers: list[Any] = []

        async def ask(llm: Any, answers: list[Any] = answers) -> None:
            answers.extend(await _ask(caller)(llm))

        asyncio.run(_run(make(cls, sim, additional_kwargs={"service_tier": "flex"}), ask))
        said.append([(str(one), one.delta, {*one.additional_kwargs}) for one in answers])

    theirs, ours = said
    assert [one[:2] for one in ours] == [one[:2] for one in theirs]
    assert [one[2] - {"flextier"} for one in ours] == [one[2] for one in theirs]


@pytest.mark.parametrize("fault", [None, Fault.status(401)], ids=["answered", "failed"])
@over_every_way
@pytest.mark.sampled(3)
def test_every_call_ends_with_an_event(
    caller: LlamaCaller, fault: Fault | None, recorder: Recorder, sim: Simulator
) -> None:
    """One `FlexCallEvent` a call, answered or not, with its report, in the call's span."""
    sim.script(*([fault] if fault else []))

    outcome = caller(sim.base_url)

    [call_event] = recorder.events.of(FlexCallEvent)
    assert call_event.report == outcome.report.to_dict()
    assert call_event.span_id == recorder.start().span_id


@over_every_way
def test_the_end_event_has_the_report(
    caller: LlamaCaller, recorder: Recorder, sim: Simulator
) -> None:
    """`LLMChatEndEvent.response` is the answer, with the report on it."""
    sim.script(Fault.refuse())

    outcome = caller(sim.base_url)

    [end] = recorder.events.of(LLMChatEndEvent, LLMCompletionEndEvent)
    assert end.response.additional_kwargs["flextier"] == outcome.report.to_dict()
    assert end.span_id == recorder.start().span_id


@over_every_way
def test_the_older_callbacks_receive_the_same(caller: LlamaCaller, sim: Simulator) -> None:
    """`LlamaDebugHandler` has the same pairs of events, with the same payloads, as ever."""
    pairs = []
    for cls in (THEIRS[caller.cls], caller.cls):
        debug = LlamaDebugHandler(print_trace_on_end=False)
        llm = make(cls, sim, callback_manager=CallbackManager([debug]))
        with override(lanes=("flex",)):
            asyncio.run(_run(llm, _ask(caller)))
        pairs.append(
            [
                [(event.event_type, sorted(event.payload or {})) for event in pair]
                for pair in debug.get_event_pairs()
            ]
        )

    theirs, ours = pairs
    assert ours == theirs
    assert [pair[0][0] for pair in ours] == [CBEventType.LLM]


@over_classes
async def test_calls_at_once_keep_to_their_spans(
    cls: Any, recorder: Recorder, sim: Simulator
) -> None:
    """Of twenty concurrent calls, each refused once, each retry is in the span of its call."""
    llm = make(cls, sim)
    sim.script(*[Fault.refuse()] * 20)
    async with aclosed(llm):
        answers = await asyncio.gather(*(llm.achat(CHAT) for _ in range(20)))

    requests = {}
    for event in recorder.events.of(LLMChatEndEvent):
        attempts = event.response.additional_kwargs["flextier"]["attempts"]
        requests[event.span_id] = [attempt["request_id"] for attempt in attempts]
    retries = recorder.events.of(FlexRetryEvent)
    assert len(answers) == len(requests) == 20
    assert len(retries) == 20
    assert all(retry.request_id in requests[retry.span_id] for retry in retries)
