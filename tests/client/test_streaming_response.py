"""``with_streaming_response.create(stream=True)``: the Agents SDK's way, and readers of bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import openai
import pytest

from flextier import AsyncFlexOpenAI, CallReport, FlexOpenAI, StreamInterruptedError, track
from flextier.sim import Fault, Simulator
from tests.client.callers import FAST, KEY, MESSAGES
from tests.client.servers import answering, chunk, event_stream, serving

Read = Callable[[Any], Any]
ARead = Callable[[Any], Awaitable[Any]]


def run(base_url: str, api: str, read: Read, aread: ARead | None = None) -> tuple[Any, CallReport]:
    """What the reader of a response returns, or its error; and the call's report.

    With ``aread``, on the async client.
    """
    options: Any = {"base_url": base_url, "api_key": KEY, "policy": FAST}
    body: Any = {"model": "o3", "stream": True}
    body |= {"messages": MESSAGES} if api == "chat" else {"input": "Hi."}

    def resource(client: Any) -> Any:
        return (
            client.chat.completions if api == "chat" else client.responses
        ).with_streaming_response

    def call() -> Any:
        with FlexOpenAI(**options) as client, resource(client).create(**body) as response:
            return read(response)

    async def acall() -> Any:
        assert aread is not None
        async with (
            AsyncFlexOpenAI(**options) as client,
            resource(client).create(**body) as response,
        ):
            return await aread(response)

    with track() as calls:
        try:
            result = call() if aread is None else asyncio.run(acall())
        except openai.OpenAIError as error:
            result = error
    (report,) = calls
    return result, report


def events(response: Any) -> list[Any]:
    """All events, as the Agents SDK reads them."""
    return list(response.parse())


async def aevents(response: Any) -> list[Any]:
    """The async version."""
    return [event async for event in await response.parse()]


def lines(response: Any) -> list[str]:
    """All lines with something in them."""
    return [line for line in response.iter_lines() if line]


async def alines(response: Any) -> list[str]:
    """The async version."""
    return [line async for line in response.iter_lines() if line]


def read(response: Any) -> list[str]:
    """The same lines, of the whole body."""
    return [line for line in response.read().decode().split("\n") if line]


async def aread(response: Any) -> list[str]:
    """The async version."""
    return [line for line in (await response.read()).decode().split("\n") if line]


def nothing(response: Any) -> None:
    """The caller leaves at once."""


async def anothing(response: Any) -> None:
    """The async version."""


READERS = {
    "events": (events, None),
    "async-events": (events, aevents),
    "lines": (lines, None),
    "async-lines": (lines, alines),
    "read": (read, None),
    "async-read": (read, aread),
}
EVENTS = {name: readers for name, readers in READERS.items() if "events" in name}
BYTES = {name: readers for name, readers in READERS.items() if "events" not in name}


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize(("sync", "asynchronous"), READERS.values(), ids=READERS)
def test_it_is_routed_as_the_stream_it_is(
    api: str, sync: Read, asynchronous: ARead | None, sim: Simulator
) -> None:
    """Retried before its first event, and served on flex, whatever is read of it."""
    sim.script(Fault.refuse(), Fault.stream_error())

    seen, report = run(sim.base_url, api, sync, asynchronous)

    assert [attempt.outcome for attempt in report.attempts] == ["capacity", "capacity", "served"]
    assert report.lane == "flex"
    assert len(seen) > 3


@pytest.mark.parametrize(("sync", "asynchronous"), READERS.values(), ids=READERS)
def test_its_usage_is_priced(sync: Read, asynchronous: ARead | None, sim: Simulator) -> None:
    """The usage of ``response.completed`` is in the report."""
    _, report = run(sim.base_url, "responses", sync, asynchronous)

    assert report.usage is not None
    assert report.cost.basis == "exact"


@pytest.mark.parametrize(("sync", "asynchronous"), BYTES.values(), ids=BYTES)
def test_bytes_are_those_of_the_server(sync: Read, asynchronous: ARead | None) -> None:
    """Nothing is lost that was read to open the stream, and nothing comes twice."""
    answer = event_stream(chunk(""), chunk("Red"), chunk(" is", model=None), chunk("", "stop"))
    with serving(answering(answer)) as address:
        seen, report = run(f"http://{address}/v1", "chat", sync, asynchronous)

    assert seen == [line for line in answer.decode().split("\r\n\r\n")[1].split("\n") if line]
    assert report.served


@pytest.mark.parametrize(("sync", "asynchronous"), READERS.values(), ids=READERS)
def test_a_stream_that_breaks_off(sync: Read, asynchronous: ARead | None, sim: Simulator) -> None:
    """Part of an answer is an error, and not asked for twice."""
    sim.script(Fault.stream_end(after=3))

    error, report = run(sim.base_url, "chat", sync, asynchronous)

    assert isinstance(error, StreamInterruptedError)
    assert [attempt.outcome for attempt in report.attempts] == ["interrupted"]


@pytest.mark.parametrize(("sync", "asynchronous"), [(nothing, None), (nothing, anothing)])
def test_a_stream_that_is_not_read(sync: Read, asynchronous: ARead | None, sim: Simulator) -> None:
    """Leaving the context manager closes it, and reports it as cancelled."""
    _, report = run(sim.base_url, "responses", sync, asynchronous)

    assert [attempt.outcome for attempt in report.attempts] == ["cancelled"]
    assert report.attempts[0].possibly_billed


@pytest.mark.parametrize(("sync", "asynchronous"), EVENTS.values(), ids=EVENTS)
def test_parse_returns_the_same_stream(
    sync: Read, asynchronous: ARead | None, sim: Simulator
) -> None:
    """A second ``parse()`` goes on where the first one is; bytes cannot be read any more."""

    def twice(response: Any) -> bool:
        stream = response.parse()
        list(stream)
        with pytest.raises(openai.OpenAIError, match="already been streamed"):
            response.read()
        return stream is response.parse()

    async def atwice(response: Any) -> bool:
        stream = await response.parse()
        async for _ in stream:
            pass
        with pytest.raises(openai.OpenAIError, match="already been streamed"):
            await response.read()
        return stream is await response.parse()

    assert run(sim.base_url, "responses", twice, asynchronous and atwice)[0] is True
