"""Streams: whole ones, and those that go wrong."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from flextier.sim import Fault, Simulator

from .callers import (
    LOST,
    SOON,
    AsyncChat,
    AsyncResponses,
    Caller,
    Chat,
    Responses,
    eventually,
    raw,
)


def code_of(error: openai.APIError) -> Any:
    """The code of an error that came in a stream, wherever this SDK puts it."""
    return error.code or (error.body or {}).get("code")


def test_stream_brings_the_same_text_as_a_plain_call(sim: Simulator, caller: Caller) -> None:
    """What is streamed adds up to what is answered plainly."""
    assert caller.streamed(caller.stream()) == caller.text(caller.plain())


def test_every_chunk_of_a_chat_stream_names_its_tier(sim: Simulator) -> None:
    """Chunks say which tier served them, and that they are simulated."""
    for chunk in Chat(sim.base_url).stream(service_tier="flex"):
        assert chunk.service_tier == "flex"
        assert chunk.system_fingerprint == "flextier-simulator"


def test_usage_comes_in_the_last_chunk_when_asked_for(sim: Simulator) -> None:
    """Without include_usage no chunk has usage; with it the last one has, without choices."""
    chat = Chat(sim.base_url)
    assert all(chunk.usage is None for chunk in chat.stream())
    *chunks, last = chat.stream(stream_options={"include_usage": True})
    assert all(chunk.usage is None for chunk in chunks)
    assert (last.choices, last.usage) == ([], chat.plain().usage)


def test_responses_events_are_numbered_and_end_completed(sim: Simulator) -> None:
    """A Responses stream begins with created, ends with completed, and counts its events."""
    events = Responses(sim.base_url).stream(service_tier="flex")
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")
    assert events[-1].response.service_tier == "flex"
    assert events[-1].response.usage == Responses(sim.base_url).plain().usage


def test_responses_helper_accepts_the_events(sim: Simulator) -> None:
    """The SDK's own stream helper rebuilds the final response from the events."""
    with openai.OpenAI(base_url=sim.base_url, api_key="k") as client:
        with client.responses.stream(model="o3", input="Hi.") as stream:
            final = stream.get_final_response()
        assert final.output_text == "[simulated] Hi."


def test_chat_helper_accepts_the_chunks(sim: Simulator) -> None:
    """The SDK's own stream helper rebuilds the final completion from the chunks."""
    with openai.OpenAI(base_url=sim.base_url, api_key="k") as client:
        messages = [{"role": "user", "content": "Hi."}]
        with client.chat.completions.stream(model="o3", messages=messages) as stream:
            final = stream.get_final_completion()
        assert final.choices[0].message.content == "[simulated] Hi."


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("kind", [Chat, AsyncChat])
def test_error_in_a_chat_stream(sim: Simulator, kind: type[Caller], after: int) -> None:
    """An error object in a chat stream becomes an APIError, after the chunks before it."""
    sim.script(Fault.stream_error(after, "server_error"))
    with pytest.raises(openai.APIError) as caught:
        kind(sim.base_url).stream()
    assert len(caught.value.events) == after
    assert code_of(caught.value) == "server_error"


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("kind", [Responses, AsyncResponses])
@pytest.mark.parametrize("how", ["error", "failed"])
def test_error_in_a_responses_stream(
    sim: Simulator, kind: type[Caller], after: int, how: str
) -> None:
    """An error in a Responses stream is its last event, in either of the API's two forms."""
    sim.script(Fault.stream_error(after, how=how))
    *before, last = kind(sim.base_url).stream(service_tier="flex")
    assert len(before) == after == last.sequence_number
    if how == "error":
        assert (last.type, last.code) == ("error", "flex_unavailable")
    else:
        assert (last.type, last.response.status) == ("response.failed", "failed")
        assert last.response.error.code == "flex_unavailable"


def test_refusal_in_place_of_the_first_event_is_not_billed(sim: Simulator, caller: Caller) -> None:
    """A stream that is refused before its first event counts as refused, later as an error."""
    sim.script(Fault.stream_error(0), Fault.stream_error(1))
    for outcome, possibly_billed in (("refused", 0), ("stream_error", 1)):
        try:
            caller.stream(service_tier="flex")
        except openai.APIError as error:
            assert code_of(error) == "flex_unavailable"  # noqa: PT017 - Responses does not raise
        assert sim.requests[-1].outcome == outcome
        assert sim.stats()["possibly_billed"] == possibly_billed


def test_chat_has_no_failed_event(sim: Simulator) -> None:
    """Asking chat for response.failed is an error that says so."""
    sim.script(Fault.stream_error(how="failed"))
    with pytest.raises(openai.InternalServerError, match="no such event"):
        Chat(sim.base_url).stream()


def test_break_after_the_end_is_reported(sim: Simulator, caller: Caller) -> None:
    """A break that the stream is too short for is an error that says so."""
    sim.script(Fault.stream_end(after=1000))
    with pytest.raises(openai.InternalServerError, match="only"):
        caller.stream()


@pytest.mark.parametrize("after", [0, 3])
def test_stream_that_ends_early(sim: Simulator, caller: Caller, after: int) -> None:
    """An unfinished stream ends in good order: no finish reason, no completed, no [DONE]."""
    sim.script(Fault.stream_end(after))
    events = caller.stream()
    assert len(events) == after
    assert sim.requests[0].outcome == "stream_ended"
    assert sim.stats()["possibly_billed"] == 1


def test_stream_that_ends_early_has_no_done(sim: Simulator) -> None:
    """On the wire, too, an unfinished stream lacks its [DONE]."""
    chat = Chat(sim.base_url)
    whole = raw(sim.url, "POST", chat.path, {**chat.body({}), "stream": True})
    sim.script(Fault.stream_end(2))
    ended = raw(sim.url, "POST", chat.path, {**chat.body({}), "stream": True})
    assert whole.content.endswith(b"data: [DONE]\n\n")
    assert ended.content.count(b"data: ") == 2
    assert b"[DONE]" not in ended.content


@pytest.mark.parametrize("after", [0, 2])
def test_stream_whose_connection_drops(sim: Simulator, caller: Caller, after: int) -> None:
    """A dropped stream is a lost connection, after the events before it."""
    sim.script(Fault.stream_reset(after))
    with pytest.raises(LOST) as caught:
        caller.stream()
    assert len(caught.value.events) == after
    assert sim.requests[0].outcome == "stream_reset"


def test_stream_that_falls_silent(sim: Simulator, caller: Caller) -> None:
    """A silent stream ends when its client gives up, and is possibly billed."""
    sim.script(Fault.stream_stall(after=2))
    with pytest.raises(LOST) as caught:
        caller.stream(timeout=SOON)
    assert len(caught.value.events) == 2
    assert eventually(lambda: sim.in_flight == 0)
    assert sim.requests[0].outcome == "stream_stalled"
    assert sim.stats()["possibly_billed"] == 1


def test_stream_that_pauses(sim: Simulator, caller: Caller) -> None:
    """A stream that falls silent for a while is complete afterwards."""
    whole = caller.streamed(caller.stream())
    sim.script(Fault.stream_stall(after=1, seconds=0.02))
    assert caller.streamed(caller.stream()) == whole
    assert sim.requests[-1].outcome == "served"
    assert sim.requests[-1].seconds > 0.01


def test_stalled_stream_can_be_refused_normally_before(sim: Simulator, caller: Caller) -> None:
    """Plain refusals happen to streams too, before any event."""
    sim.script(Fault.refuse(), Fault.stall(seconds=0.01), Fault.reset())
    with pytest.raises(openai.RateLimitError):
        caller.stream()
    assert caller.streamed(caller.stream()).startswith("[simulated]")
    with pytest.raises(openai.APIConnectionError):
        caller.stream()
