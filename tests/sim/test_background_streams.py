"""Background responses as streams: created so, broken, and taken up again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from flextier.sim import BackgroundOutcome, Fault, Simulator

from .background import Backgrounds, account, asked, weather
from .callers import LOST, eventually, raw


@pytest.fixture
def backgrounds(sim: Simulator) -> Iterator[Backgrounds]:
    """One account of the shared simulator."""
    with account(sim) as found:
        yield found


def again(backgrounds: Backgrounds, name: str, after: int | None = None) -> list[Any]:
    """The stream of a response, from an event on."""
    query = {} if after is None else {"starting_after": after}
    return list(backgrounds.client.responses.retrieve(name, stream=True, extra_query=query))


def test_a_stream_has_every_event(sim: Simulator, backgrounds: Backgrounds) -> None:
    """Queued, in progress, then the events of a direct call; and it can be had again."""
    events = list(backgrounds.create(stream=True))
    kinds = [event.type for event in events]
    assert kinds[:3] == ["response.created", "response.queued", "response.in_progress"]
    direct = backgrounds.create(stream=True, background=False)
    assert kinds[3:] == [event.type for event in direct][2:]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    final = events[-1].response
    assert backgrounds.look(final) == final
    name = final.id
    assert again(backgrounds, name) == events
    assert again(backgrounds, name, 4) == events[5:]
    assert again(backgrounds, name, 1000) == []
    assert len(sim.stats()["billed"]["gpt-6.2"]) == 2
    assert sim.stats()["served"] == {"background-soonest": 1, "default": 1}


async def test_an_async_stream(sim: Simulator) -> None:
    """The stream waits until the response has ended."""
    sim.weather = weather(queued=0.05, seconds=0.05)
    async with openai.AsyncOpenAI(base_url=sim.base_url, api_key="k") as client:
        events = [event async for event in await client.responses.create(**asked(), stream=True)]
    assert events[-1].type == "response.completed"


@pytest.mark.parametrize("fault", [Fault.stream_end(2), Fault.stream_reset(2)])
def test_a_broken_stream_goes_on(sim: Simulator, backgrounds: Backgrounds, fault: Fault) -> None:
    """The response does not notice, and the rest of its events can be had."""
    sim.script(fault)
    events: list[Any] = []
    try:
        events.extend(backgrounds.create(stream=True))
    except LOST:
        # The connection was dropped under the SDK's hands, which had nothing to hand over yet.
        events = events[:2]
    (name,) = sim._world.responses._jobs
    last = events[-1].sequence_number if events else -1
    rest = again(backgrounds, name, last)
    assert rest[-1].type == "response.completed"
    assert rest[0].sequence_number == last + 1
    assert sim.stats()["possibly_billed"] == 0
    assert sim.stats()["served"] == {"background-soonest": 1}


@pytest.mark.parametrize("how", ["error", "failed"])
def test_an_error_in_the_stream(sim: Simulator, backgrounds: Backgrounds, how: Any) -> None:
    """It ends the stream, and not the response."""
    sim.script(Fault.stream_error(3, "server_error", how))
    try:
        events = list(backgrounds.create(stream=True))
    except openai.APIError:
        assert how == "error"
    else:
        kinds = {"error": "error", "failed": "response.failed"}
        assert (len(events), events[-1].type) == (4, kinds[how])
        assert how == "error" or events[-1].response.id == events[0].response.id
    (name,) = sim._world.responses._jobs
    assert backgrounds.client.responses.retrieve(name).status == "completed"


def test_a_stream_can_fall_silent(sim: Simulator, backgrounds: Backgrounds) -> None:
    """For a while, and then it goes on."""
    sim.script(Fault.stream_stall(2, seconds=0.02))
    assert list(backgrounds.create(stream=True))[-1].type == "response.completed"
    assert sim.stats()["stalls"] == 1


def test_faults_of_a_streams_creation(sim: Simulator, backgrounds: Backgrounds) -> None:
    """Reset before, reset after effect, faults of plain answers, and breaks never reached."""
    sim.script(Fault.reset(), Fault.reset(after_effect=True), Fault.cut(), Fault.stream_end(99))
    for _ in range(2):
        with pytest.raises(openai.APIConnectionError):
            backgrounds.create(stream=True)
    assert sim.stats()["background"]["created"] == 1
    with pytest.raises(openai.InternalServerError, match="plain requests"):
        backgrounds.create(stream=True)
    assert list(backgrounds.create(stream=True))[-1].type == "response.completed"
    assert "break was not reached" in sim.stats()["warnings"][-1]


def test_a_client_that_leaves_stops_nothing(sim: Simulator, backgrounds: Backgrounds) -> None:
    """The response completes, and is billed once."""
    sim.weather = weather(queued=0, seconds=0.1)
    stream = backgrounds.create(stream=True)
    name = next(iter(stream)).response.id
    stream.close()
    assert eventually(lambda: backgrounds.client.responses.retrieve(name).status == "completed")
    assert eventually(lambda: sim.requests[0].outcome == "abandoned")
    assert sim.stats()["possibly_billed"] == 0
    assert sim.stats()["served"] == {"background-soonest": 1}


def test_ends_without_an_answer(sim: Simulator, backgrounds: Backgrounds) -> None:
    """Failed and cancelled ones end with ``response.failed``, half written ones incomplete."""
    sim.script_background(
        BackgroundOutcome.fail(), BackgroundOutcome.cancel(), BackgroundOutcome.incomplete()
    )
    ends = []
    for _ in range(3):
        final = list(backgrounds.create(stream=True))[-1]
        ends.append((final.type, final.response.status))
    assert ends == [
        ("response.failed", "failed"),
        ("response.failed", "cancelled"),
        ("response.incomplete", "incomplete"),
    ]


def test_a_stream_ends_with_its_cancellation(sim: Simulator, backgrounds: Backgrounds) -> None:
    """A cancelled response ends its stream with an event; a deleted one just ends it."""
    sim.weather = weather()
    stream = iter(backgrounds.create(stream=True))
    backgrounds.cancel(next(stream).response)
    assert list(stream)[-1].response.status == "cancelled"
    sim.script_background(BackgroundOutcome.delete(after=0.05))
    kinds = [event.type for event in backgrounds.create(stream=True)]
    assert kinds == ["response.created", "response.queued"]


def test_only_streams_can_be_streamed_again(sim: Simulator, backgrounds: Backgrounds) -> None:
    """Direct ones and plain ones are a 400; so is a number that is none."""
    direct = backgrounds.create(background=False)
    plain = backgrounds.create()
    for response, missing in ((direct, "background"), (plain, "stream")):
        with pytest.raises(openai.BadRequestError, match=f"not created with {missing}=true"):
            again(backgrounds, response.id)
    streamed = list(backgrounds.create(stream=True))[-1].response
    path = f"/v1/responses/{streamed.id}?stream=true&starting_after=x"
    assert raw(sim.url, "GET", path).status == 400
