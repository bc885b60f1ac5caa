"""LlamaIndex's streams over real sockets: tried again until the first event, whole or an error."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from typing import Any

import openai
import pytest
from llama_index.core.tools import FunctionTool

from flextier import StreamInterruptedError, StreamUnverifiedWarning, override, track
from flextier.sim import Fault, Simulator
from flextier.transport.streams import AsyncFlexStream, FlexStream
from tests.client.callers import FAST, KEY, Outcome, settled
from tests.client.test_streams import AFTER_THE_FIRST_EVENT, BEFORE_THE_FIRST_EVENT, Lingerer
from tests.llama_index.callers import (
    CHAT,
    EVERY_STREAM,
    PROMPT,
    STREAMS,
    LlamaCaller,
    aclosed,
    closed,
    text_of,
)
from tests.llama_index.llms import OURS, make

pytestmark = pytest.mark.sampled(2)

over_streams = pytest.mark.parametrize("stream", STREAMS, ids=str)
over_every_stream = pytest.mark.parametrize("stream", EVERY_STREAM, ids=str)
over_classes = pytest.mark.parametrize("cls", OURS)


@pytest.fixture
def own_sim() -> Iterator[Simulator]:
    """A simulator that no other test has connections to, for counting them."""
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def uncollected() -> Iterator[None]:
    """No garbage is collected unasked, so that it is known what unties a stream."""
    gc.freeze()  # what was there before is not looked through
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


# --- faults -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "outcome"), BEFORE_THE_FIRST_EVENT.values(), ids=BEFORE_THE_FIRST_EVENT
)
@over_every_stream
def test_a_stream_is_tried_again_before_its_first_event(
    fault: Fault, outcome: str, stream: LlamaCaller, sim: Simulator
) -> None:
    """What goes wrong before the first event is the ladder's business, not the caller's."""
    sim.script(fault)

    result = stream(sim.base_url)

    assert result.outcomes == [outcome, "served"]
    assert result.text
    assert len(sim.requests) == 2


@pytest.mark.parametrize(
    ("fault", "error"), AFTER_THE_FIRST_EVENT.values(), ids=AFTER_THE_FIRST_EVENT
)
@over_every_stream
def test_a_fault_after_the_first_event_reaches_the_caller(
    fault: Fault, error: type[Exception], stream: LlamaCaller, sim: Simulator
) -> None:
    """Part of an answer is never passed off as all of it, and never asked for twice."""
    sim.script(fault)

    result = stream(sim.base_url)

    assert isinstance(result.error, error)
    assert isinstance(result.error, openai.OpenAIError)
    assert result.outcomes == ["interrupted"]
    assert result.report.attempts[0].possibly_billed
    assert result.error.report is result.report  # type: ignore[attr-defined]
    assert len(sim.requests) == 1


@over_streams
def test_silence_between_events_is_bounded(stream: LlamaCaller, sim: Simulator) -> None:
    """A stream that falls silent for longer than an attempt may take ends in a timeout."""
    sim.script(Fault.stream_stall(after=4))

    result = stream(sim.base_url, FAST.replace(flex_timeout=0.5))

    assert isinstance(result.error, openai.APITimeoutError)
    assert result.outcomes == ["interrupted"]
    assert len(sim.requests) == 1


@over_streams
def test_silence_before_the_first_event_is_bounded(stream: LlamaCaller, sim: Simulator) -> None:
    """A stream that never begins is a stalled attempt: the next lane is asked."""
    sim.script(Fault.stream_stall(after=0))

    result = stream(sim.base_url, FAST.replace(flex_timeout=0.3, patience=0.1))

    assert result.lanes == ["flex", "standard"]
    assert result.outcomes == ["timeout", "served"]


@over_every_stream
def test_an_unverified_stream_comes_in_one_chunk(stream: LlamaCaller, sim: Simulator) -> None:
    """The answer is asked for without streaming, and says the same as a stream."""
    sim.script(Fault.unverified(), Fault.refuse())

    with pytest.warns(StreamUnverifiedWarning, match="settings/organization"):
        result = stream(sim.base_url)

    assert result.outcomes == ["stream_unverified", "capacity", "served"]
    assert [request.stream for request in sim.requests] == [True, False, False]
    assert result.text == stream(sim.base_url).text


@pytest.fixture
def lingering_url() -> Iterator[str]:
    """The address of a server that leaves its streams open after `response.completed`."""
    Lingerer.left.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Lingerer) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        Lingerer.left.set()
        server.shutdown()


@pytest.mark.parametrize("stream", [one for one in STREAMS if one.cls is OURS[1]], ids=str)
def test_a_connection_that_lingers_after_the_answer(
    stream: LlamaCaller, lingering_url: str
) -> None:
    """The answer is complete even if the server keeps the stream open after it."""
    result = stream(lingering_url, FAST.replace(flex_timeout=0.5))

    assert result.text == "Blue."
    assert result.outcomes == ["served"]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_whole_response_waits_for_no_connection(
    is_async: bool, lingering_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`response.completed` is handed over before the connection that lingers is given up."""
    order: list[str] = []
    opened = AsyncFlexStream if is_async else FlexStream
    close = opened.close

    def noted(stream: Any) -> Any:
        order.append("closed")
        return close(stream)

    monkeypatch.setattr(opened, "close", noted)
    llm = OURS[1](
        model="o3", api_key=KEY, api_base=lingering_url, policy=FAST.replace(flex_timeout=0.5)
    )

    def note(chunk: Any) -> None:
        order.append(chunk.raw.type)

    def read() -> None:
        with closed(llm):
            for chunk in llm.stream_chat(CHAT):
                note(chunk)

    async def aread() -> None:
        async with aclosed(llm):
            async for chunk in await llm.astream_chat(CHAT):
                note(chunk)

    asyncio.run(aread()) if is_async else read()

    assert order.index("response.completed") < order.index("closed")


# --- chunks as they come ------------------------------------------------------------------------


def _chunks(cls: Any, sim: Simulator, *faults: Fault) -> Iterator[Any]:
    """A stream's chunks one by one; silence is an error soon enough for a test that fails."""
    sim.script(*faults)
    llm = make(cls, sim, policy=FAST.replace(flex_timeout=20))
    with closed(llm):
        yield from llm.stream_chat(CHAT)


@over_classes
def test_chunks_arrive_as_they_come(cls: Any, sim: Simulator) -> None:
    """While the server is silent, the caller has all that came: nothing is waiting for more."""
    whole = list(_chunks(cls, sim))
    assert len(whole) > 4

    # From the first event that is handed over to the last but the closing one.
    first = 2 if cls is OURS[0] else 4
    for count in range(first, len(whole)):
        chunks = _chunks(cls, sim, Fault.stream_stall(after=count))
        seen = [next(chunks) for _ in range(count)]  # would wait, were one held back
        assert sim.in_flight == 1
        assert [one.delta for one in seen] == [one.delta for one in whole[:count]]
        chunks.close()


@over_classes
async def test_async_chunks_arrive_as_they_come(
    cls: Any, uncollected: None, sim: Simulator
) -> None:
    """The same, async, half-way through the answer."""
    llm = make(cls, sim, policy=FAST.replace(flex_timeout=20))
    async with aclosed(llm):
        whole = [one async for one in await llm.astream_chat(CHAT)]
        events = len(list(_chunks(cls, sim)))
        skipped = events - len(whole)  # LlamaIndex leaves out a first chunk that says nothing
        sim.script(Fault.stream_stall(after=events - 1))

        chunks = await llm.astream_chat(CHAT)
        seen = [await anext(chunks) for _ in range(events - 1 - skipped)]

        assert sim.in_flight == 1
        assert [one.delta for one in seen] == [one.delta for one in whole[:-1]]
        await chunks.aclose()
        del chunks, seen
        gc.collect()


@over_classes
def test_what_was_seen_before_the_fault_is_handed_over(cls: Any, sim: Simulator) -> None:
    """Every event that arrived before a stream broke reaches the caller first."""
    whole = list(_chunks(cls, sim))
    seen: list[Any] = []

    with pytest.raises(StreamInterruptedError):
        # extend keeps what came before the error
        seen.extend(_chunks(cls, sim, Fault.stream_end(after=len(whole) - 1)))

    assert [one.delta for one in seen] == [one.delta for one in whole[:-1]]


def test_a_closing_chunk_is_handed_over_before_the_fault_behind_it(sim: Simulator) -> None:
    """A chunk that was held back because it might be the last is not lost to what follows it."""
    whole = list(_chunks(OURS[0], sim))
    seen: list[Any] = []

    with pytest.raises(openai.APIError):
        seen.extend(_chunks(OURS[0], sim, Fault.stream_error(after=len(whole))))

    assert [one.delta for one in seen] == [one.delta for one in whole]


def test_the_report_follows_the_usage(sim: Simulator) -> None:
    """Where usage was asked for, its chunk is the last: it has the report, the one before not."""
    stream = LlamaCaller(OURS[0], "chat", stream=True, is_async=False)

    result = stream(
        sim.base_url, llm={"additional_kwargs": {"stream_options": {"include_usage": True}}}
    )

    assert result.report.usage is not None


# --- streams that are left ----------------------------------------------------------------------


@pytest.mark.parametrize("leave", ["close", "drop"])
@pytest.mark.parametrize("name", ["stream_chat", "stream_complete"])
@over_classes
def test_a_stream_left_half_way_leaves_nothing(
    cls: Any,
    name: str,
    leave: str,
    uncollected: None,
    own_sim: Simulator,
) -> None:
    """Whether it is closed or dropped: the report says cancelled, and the connection is closed."""
    own_sim.script(Fault.stream_stall(after=4))
    llm = make(cls, own_sim)
    with closed(llm), track() as calls:
        chunks = getattr(llm, name)(CHAT if name == "stream_chat" else PROMPT)
        next(chunks)
        if leave == "close":
            chunks.close()
        del chunks
        assert [[a.outcome for a in call.attempts] for call in calls] == [["cancelled"]]
        assert calls[0].attempts[0].possibly_billed
        assert settled(own_sim) == 0


@pytest.mark.parametrize("leave", ["close", "drop"])
@pytest.mark.parametrize("name", ["astream_chat", "astream_complete"])
@over_classes
async def test_an_async_stream_left_half_way_leaves_nothing(
    cls: Any,
    name: str,
    leave: str,
    uncollected: None,
    own_sim: Simulator,
) -> None:
    """The same, async: the loop closes a dropped stream a few iterations later."""
    own_sim.script(Fault.stream_stall(after=4))
    before = asyncio.all_tasks()
    llm = make(cls, own_sim)
    async with aclosed(llm):
        with track() as calls:
            chunks = await getattr(llm, name)(CHAT if name == "astream_chat" else PROMPT)
            await anext(chunks)
            if leave == "close":
                await chunks.aclose()
            del chunks
            await _turns()
            assert [[a.outcome for a in call.attempts] for call in calls] == [["cancelled"]]
            assert await asyncio.to_thread(settled, own_sim) == 0
    assert asyncio.all_tasks() == before


async def _turns() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


@over_classes
def test_who_stops_at_the_last_chunk_leaves_nothing(
    cls: Any, uncollected: None, own_sim: Simulator
) -> None:
    """The last chunk ends the call; who asks for no more after it holds no connection."""
    llm = make(cls, own_sim)
    with closed(llm), track() as calls:
        chunks = llm.stream_chat(CHAT)
        while "flextier" not in next(chunks).additional_kwargs:
            pass
        assert [call.served for call in calls] == [True]
        chunks.close()
        llm.chat(CHAT)  # on the stream's connection, or on a new one
        for _ in range(400):
            if own_sim.connections == 1:
                break
            time.sleep(0.005)
        assert own_sim.connections == 1


def test_an_unread_stream_is_never_requested(sim: Simulator) -> None:
    """LlamaIndex asks when the first chunk is wanted: without it there is no call to report."""
    for cls in OURS:
        llm = make(cls, sim)
        with closed(llm), track() as calls:
            llm.stream_chat(CHAT).close()
        assert calls == []
    assert sim.requests == []


# --- streams read elsewhere ---------------------------------------------------------------------


def _in_a_thread(read: Callable[[], None]) -> None:
    thread = threading.Thread(target=read)
    thread.start()
    thread.join()


def _in_an_empty_context(read: Callable[[], None]) -> None:
    contextvars.Context().run(read)


def _here(read: Callable[[], None]) -> None:
    read()


PLACES = {"here": _here, "in-a-thread": _in_a_thread, "in-an-empty-context": _in_an_empty_context}


@pytest.mark.parametrize("within", [True, False], ids=["within", "after"])
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("name", ["stream_chat", "stream_complete"])
@over_classes
def test_what_was_in_force_when_a_stream_was_asked_for_counts(
    cls: Any, name: str, place: Callable[[Callable[[], None]], None], within: bool, sim: Simulator
) -> None:
    """`track` and `override` hold for a stream that is read after them, or in a bare thread."""
    sim.script(Fault.refuse())
    llm = make(cls, sim)
    said: list[str] = []

    def read() -> None:
        said.extend(text_of(one) for one in chunks)

    with closed(llm):
        with track() as calls, override(lanes=("flex",), patience=30):
            chunks = getattr(llm, name)(CHAT if name == "stream_chat" else PROMPT)
            if within:
                place(read)
        if not within:
            place(read)
        chunks.close()

    assert said[-1]
    assert [[a.outcome for a in call.attempts] for call in calls] == [["capacity", "served"]]


@over_classes
def test_what_is_in_force_where_a_stream_is_read_counts_too(cls: Any, sim: Simulator) -> None:
    """The block around the reading counts the call, and its override wins."""
    llm = make(cls, sim)
    with closed(llm):
        with track() as asked, override(lanes=("flex",)):
            chunks = llm.stream_chat(CHAT)
        with track() as read, override(lanes=("standard",)):
            list(chunks)

    assert [call.lane for call in asked] == ["standard"]
    assert asked == read


@over_classes
async def test_async_streams_count_where_they_were_asked_for(cls: Any, sim: Simulator) -> None:
    """The same, async, read by another task after the block."""
    llm = make(cls, sim)

    async def read(chunks: Any) -> list[Any]:
        return [one async for one in chunks]

    async with aclosed(llm):
        with track() as calls, override(lanes=("standard",)):
            chunks = await llm.astream_chat(CHAT)
        task = contextvars.Context().run(asyncio.ensure_future, read(chunks))
        await task

    assert [call.lane for call in calls] == ["standard"]


@over_classes
def test_each_of_two_streams_at_once_has_its_own_report(cls: Any, sim: Simulator) -> None:
    """Two streams that are read alternately have separate reports."""
    sim.script(Fault.refuse())
    llm = make(cls, sim)
    with closed(llm), track() as calls:
        streams = [llm.stream_chat(CHAT), llm.stream_chat(CHAT)]
        chunks: list[list[Any]] = [[next(one)] for one in streams]
        for seen, rest in zip(chunks, streams, strict=True):
            seen.extend(rest)

    reports = [seen[-1].additional_kwargs["flextier"] for seen in chunks]
    assert reports == [call.to_dict() for call in calls]
    assert [len(report["attempts"]) for report in reports] == [2, 1]


# --- tools --------------------------------------------------------------------------------------


def weather(city: str) -> str:
    """Describe the weather of a city."""
    return city


TOOL = FunctionTool.from_defaults(weather)
ASK = "Call weather for Oslo."


@pytest.mark.parametrize("fault", [Fault.refuse(), Fault.unverified()], ids=["refused", "one"])
@over_classes
def test_a_stream_with_tool_calls(cls: Any, fault: Fault, sim: Simulator) -> None:
    """The tool calls of a stream are there as in a plain answer, with the report on the last."""
    sim.script(fault)
    llm = make(cls, sim)
    with closed(llm), track() as calls, warnings.catch_warnings():
        warnings.simplefilter("ignore", StreamUnverifiedWarning)
        *before, last = llm.stream_chat_with_tools([TOOL], user_msg=ASK)
        plain = llm.chat_with_tools([TOOL], user_msg=ASK)

    streamed = llm.get_tool_calls_from_response(last)
    assert [(one.tool_name, one.tool_kwargs) for one in streamed] == [
        (one.tool_name, one.tool_kwargs) for one in llm.get_tool_calls_from_response(plain)
    ]
    assert streamed[0].tool_name == "weather"
    assert last.additional_kwargs["flextier"] == calls[0].to_dict()
    assert not any("flextier" in one.additional_kwargs for one in before)
    assert len(sim.requests) == 3


@over_classes
async def test_an_async_stream_with_tool_calls(cls: Any, sim: Simulator) -> None:
    """The same, async."""
    sim.script(Fault.refuse())
    llm = make(cls, sim)
    async with aclosed(llm):
        stream = await llm.astream_chat_with_tools([TOOL], user_msg=ASK)
        *_, last = [one async for one in stream]

    assert [one.tool_name for one in llm.get_tool_calls_from_response(last)] == ["weather"]
    assert [one["outcome"] for one in last.additional_kwargs["flextier"]["attempts"]] == [
        "capacity",
        "served",
    ]


@over_every_stream
def test_reports_of_streams_have_reported_usage(stream: LlamaCaller, sim: Simulator) -> None:
    """Streams of both APIs are priced by the usage that the server reports."""
    result: Outcome = stream(sim.base_url)

    assert result.report.cost.basis == "exact"
