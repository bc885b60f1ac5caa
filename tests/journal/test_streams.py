"""Streams and the journal: stored whole at their last event, replayed in one chunk."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import warnings
import zlib
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionChunk
from pydantic import BaseModel

from flextier import (
    AsyncFlexOpenAI,
    FlexOpenAI,
    StreamUnverifiedWarning,
    track,
)
from flextier._openai.http_library import http
from flextier._openai.single_chunk_stream import as_event_stream
from flextier.journal import JournalWarning
from flextier.journal.open_journals import journal_at
from flextier.routing import stream_journal
from flextier.sim import Fault, Simulator
from tests.batch.conftest import forget
from tests.batch.crowd import POLICY, options
from tests.client.callers import MESSAGES, STREAMS, Caller

FLEX = POLICY.replace(lanes=("flex", "standard"))
LANES = {
    "flex": FLEX,
    "batch": POLICY.replace(lanes=("batch",)),
    "background": POLICY.replace(lanes=("background-2h",), background_poll_interval=0.05),
}
ASK: Any = {"model": "o3", "messages": MESSAGES, "stream": True}
USAGE: Any = {"stream_options": {"include_usage": True}}
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
    for name in ("weather", "trains")
]


ON_LANES = [
    pytest.param(lane, caller, id=f"{lane}-{caller}")
    for lane in LANES
    for caller in STREAMS
    if (lane, caller.api) != ("background", "chat")  # a lane of the Responses API
]


@pytest.fixture(params=STREAMS, ids=str)
def caller(request: pytest.FixtureRequest) -> Caller:
    """Each way to ask for a stream."""
    found: Caller = request.param
    return found


def done(path: str) -> int:
    """How many responses the journal has; no call holds a claim."""
    counts = journal_at(path).counts()
    assert counts["asked"] == 0
    return counts["done"]


def client_of(sim: Simulator, path: str, **changes: Any) -> FlexOpenAI:
    """A client with the journal."""
    return FlexOpenAI(**options(sim, FLEX.replace(journal=path, **changes)))


@pytest.mark.parametrize(("lane", "caller"), ON_LANES)
def test_the_same_again(lane: str, caller: Caller, path: str, sim: Simulator) -> None:
    """Started again, the program has the same stream for nothing, whatever lane it came from."""
    policy = LANES[lane].replace(journal=path)
    arguments = {"model": "gpt-6.2-sol"} if lane == "background" else {}
    first = caller(sim.base_url, policy, **arguments)
    assert first.lanes
    forget()
    sent = len(sim.requests)
    again = caller(sim.base_url, policy, **arguments)
    assert (again.text, again.report.lane, again.report.attempts) == (first.text, "journal", ())
    assert again.report.served
    assert again.report.cost.total == 0
    assert (len(sim.requests), done(path)) == (sent, 1)


def test_a_stream_and_a_plain_call_share_an_entry(
    caller: Caller, path: str, sim: Simulator
) -> None:
    """Whether a call is streamed makes no difference to what the journal has for it."""
    policy = FLEX.replace(journal=path)
    plain = Caller(caller.api, stream=False, is_async=caller.is_async)
    for first, second in ((plain, caller), (caller, plain)):
        before = first(sim.base_url, policy)
        forget()
        again = second(sim.base_url, policy)
        assert (again.text, again.report.lane) == (before.text, "journal")
        journal_at(path).forget()
        forget()
    assert sim.paid()["payments"] == 2


# --- what is stored ---------------------------------------------------------------------------


def stored(path: str, sim: Simulator, **body: Any) -> dict[str, Any]:
    """The answer in the journal after a chat stream."""
    with client_of(sim, path) as client:
        list(client.chat.completions.create(**{**ASK, **body}))
    ((answer,),) = journal_at(path)._connection.execute("SELECT answer FROM calls").fetchall()
    whole: dict[str, Any] = json.loads(zlib.decompress(answer))
    return whole


def plain_answer(sim: Simulator, **body: Any) -> dict[str, Any]:
    """The answer of the same call without a stream."""
    with openai.OpenAI(base_url=sim.base_url, api_key="k") as client:
        answer = client.chat.completions.create(
            **{"model": "o3", "messages": MESSAGES, "service_tier": "flex", **body}
        )
    return answer.to_dict(mode="json")


BODIES = {
    "text": {},
    "two choices": {"n": 2},
    "tool calls": {
        "tools": TOOLS,
        "messages": [{"role": "user", "content": "Use weather and trains for 'Oslo' and 'Voss'."}],
    },
    "logprobs": {"logprobs": True},
    "length": {"max_completion_tokens": 1},
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_what_is_stored(body: dict[str, Any], path: str, sim: Simulator) -> None:
    """The stored answer is that of a plain call: choices, tool calls, log probabilities, usage."""
    answers = [stored(path, sim, **USAGE, **body), plain_answer(sim, **body)]
    for answer in answers:
        del answer["id"], answer["created"]
        for choice in answer["choices"]:
            choice["message"].pop("annotations", None)  # empty, and in no chunk
            for call in choice["message"].get("tool_calls", ()):
                del call["id"]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("asked_before", [True, False])
def test_usage_as_the_caller_asked(
    asked: bool, asked_before: bool, path: str, sim: Simulator
) -> None:
    """The usage chunk is replayed to those who ask for it, whether or not the first call did."""
    with client_of(sim, path) as client:
        list(client.chat.completions.create(**ASK, **(USAGE if asked_before else {})))
    forget()
    with client_of(sim, path) as client:
        chunks = list(client.chat.completions.create(**ASK, **(USAGE if asked else {})))
    assert [len(chunk.choices) for chunk in chunks] == [1, 1, *[0] * asked]
    assert (chunks[-1].usage is not None) == asked
    assert sim.paid()["payments"] == 1


def test_the_sdks_helpers_and_raw_streams(path: str, sim: Simulator) -> None:
    """`stream()` of both APIs, raw streams, and `with_streaming_response` of a stream."""

    class Colour(BaseModel):
        name: str

    texts = []
    for _ in range(2):
        with client_of(sim, path) as client:
            completions, responses = client.chat.completions, client.responses
            with completions.stream(
                model="o3", messages=MESSAGES, response_format=Colour
            ) as helped:
                assert helped.get_final_completion().choices[0].message.parsed
            with responses.stream(model="o3", input="Hi.", text_format=Colour) as stream:
                assert stream.get_final_response().output_parsed
            texts.append(text_of(completions.with_raw_response.create(**ASK).parse()))
            with completions.with_streaming_response.create(**ASK) as response:
                texts.append(text_of(response.parse()))
            with completions.with_streaming_response.create(**ASK) as response:
                lines = [line.removeprefix("data: ") for line in response.iter_lines() if line]
            assert lines.pop() == "[DONE]"
            texts.append(text_of(map(ChatCompletionChunk.model_validate_json, lines)))
        forget()
        assert sim.paid()["payments"] == done(path) == 5
    assert texts[:3] == texts[3:]


def text_of(chunks: Any) -> str:
    """The text of a chat stream."""
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def test_a_body_that_the_caller_reads_is_not_journaled(path: str, sim: Simulator) -> None:
    """Without a stream, no other call reads it."""
    for _ in range(2):
        with (
            client_of(sim, path) as client,
            client.chat.completions.with_streaming_response.create(
                model="o3", messages=MESSAGES
            ) as response,
        ):
            assert response.read()
        forget()
    assert (sim.paid()["payments"], done(path)) == (2, 0)


# --- when it is written -----------------------------------------------------------------------


def test_written_before_the_last_event_is_handed_over(path: str, sim: Simulator) -> None:
    """Who stops at `finish_reason` or `response.completed` has read it all, and pays once."""
    with client_of(sim, path) as client:
        chunks = client.chat.completions.create(**ASK, **USAGE)
        for chunk in chunks:
            assert chunk.choices
            if chunk.choices[0].finish_reason:
                assert journal_at(path).counts() == counts(done=1)
                break
            assert journal_at(path).counts() == counts(asked=1)
        chunks.close()
        events = client.responses.create(model="o3", input="Hi.", stream=True)
        for event in events:
            if event.type == "response.completed":
                break
            assert journal_at(path).counts() == counts(asked=1, done=1)
        assert done(path) == 2
        events.close()
    forget()
    with client_of(sim, path) as client, track() as calls:
        list(client.chat.completions.create(**ASK, **USAGE))
        list(client.responses.create(model="o3", input="Hi.", stream=True))
    assert [call.lane for call in calls] == ["journal", "journal"]


def counts(**known: int) -> dict[str, int]:
    """The counts of a journal."""
    return {**dict.fromkeys(("asked", "batched", "background", "done"), 0), **known}


def test_of_two_choices_one_is_not_the_response(path: str, sim: Simulator) -> None:
    """The simulator sends one choice after the other: the first alone is not stored."""
    with client_of(sim, path) as client:
        chunks = client.chat.completions.create(**ASK, n=2)
        while not next(chunks).choices[0].finish_reason:
            pass
        chunks.close()
    assert done(path) == 0


BROKEN = {
    "ended-early": Fault.stream_end(after=3),
    "reset": Fault.stream_reset(after=3),
    "error-event": Fault.stream_error(after=3),
    "refused-for-good": Fault.status(400, param="messages"),
}


@pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN)
def test_a_stream_that_fails_gives_its_claim_back(
    fault: Fault, caller: Caller, path: str, sim: Simulator
) -> None:
    """As a failed call: nothing is stored, and the next call is sent."""
    sim.script(fault)
    policy = FLEX.replace(journal=path)
    assert isinstance(caller(sim.base_url, policy).error, openai.OpenAIError)
    assert done(path) == 0
    assert caller(sim.base_url, policy).report.lane == "flex"
    assert done(path) == 1


def test_a_stream_that_is_left_gives_its_claim_back(path: str, sim: Simulator) -> None:
    """By closing it, or by leaving its `with` block."""
    with client_of(sim, path) as client:
        first = client.responses.create(model="o3", input="Hi.", stream=True)
        next(first)
        first.close()
        with client.chat.completions.create(**ASK) as second:
            next(second)
        assert done(path) == 0
        assert len(list(client.chat.completions.create(**ASK))) > 2
    assert done(path) == 1


async def test_an_async_stream_that_is_left(path: str, sim: Simulator) -> None:
    """Also by a task that is cancelled."""
    opened = asyncio.Event()

    async def read(client: AsyncFlexOpenAI) -> None:
        async with await client.chat.completions.create(**ASK) as stream:
            async for _ in stream:
                opened.set()
                await asyncio.sleep(60)

    async with AsyncFlexOpenAI(**options(sim, FLEX.replace(journal=path))) as client:
        task = asyncio.ensure_future(read(client))
        await opened.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done(path) == 0


def test_a_one_chunk_stream_that_is_left_is_stored(path: str, sim: Simulator) -> None:
    """It was made from a whole response, which is paid for."""
    sim.script(Fault.unverified())
    with client_of(sim, path) as client, track() as calls:
        with pytest.warns(StreamUnverifiedWarning):
            stream = client.chat.completions.create(**ASK)
        assert done(path) == 1
        stream.close()
    assert [call.served for call in calls] == [True]
    forget()
    with client_of(sim, path) as client:
        chunks = list(client.chat.completions.create(**ASK, **USAGE))
    assert chunks[-1].usage is not None  # the whole response had it
    assert sim.paid()["payments"] == 1


def test_long_streams_pass_with_a_warning(
    caller: Caller, path: str, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is longer than the journal takes reaches the caller all the same."""
    monkeypatch.setattr(stream_journal, "MAX_STREAM_BYTES", 3)
    with pytest.warns(JournalWarning, match="longer than 3 bytes"):
        assert caller(sim.base_url, FLEX.replace(journal=path)).text
    assert done(path) == 0


def test_a_stream_that_the_garbage_collector_closes(path: str, sim: Simulator) -> None:
    """It may do so anywhere, also in the middle of what another call writes to the journal."""
    with client_of(sim, path) as client:
        stream = client.chat.completions.create(**ASK)
        next(stream)
        journal = journal_at(path)
        with journal._transaction() as sql:
            sql("UPDATE calls SET model = 'before'")
            del stream
            gc.collect()
            sql("INSERT INTO calls (key, n, state, owner) VALUES (x'00', 1, 'done', 0)")
        assert done(path) == 1


# --- several at once --------------------------------------------------------------------------


@pytest.mark.parametrize(("repeats", "paid"), [("each", 3), ("once", 1)])
def test_the_same_stream_several_times(repeats: Any, paid: int, path: str, sim: Simulator) -> None:
    """Each of a run's streams is sent for itself; or the first for all, one after another."""
    for _ in range(2):
        with client_of(sim, path, journal_duplicates=repeats) as client:
            for _ in range(3):
                assert list(client.chat.completions.create(**ASK))
        assert sim.paid()["payments"] == paid
        forget()


def test_no_call_waits_for_a_stream_of_its_own_reader(path: str, sim: Simulator) -> None:
    """Under ``once``, two equal streams that are read in turn do not wait for each other."""
    with client_of(sim, path, journal_duplicates="once", deadline=20) as client:
        one, other = (client.chat.completions.create(**ASK) for _ in range(2))
        pairs = list(itertools.zip_longest(one, other))
        assert len(pairs) > 2
        assert client.chat.completions.create(model="o3", messages=MESSAGES)
    assert (sim.paid()["payments"], done(path)) == (2, 1)


def test_a_response_of_half_a_character(path: str, sim: Simulator) -> None:
    """Text that UTF-8 cannot encode does not cost the caller the response, streamed or not."""
    sim.script(*[Fault.serve(text="So \ud83d")] * 2)
    with client_of(sim, path) as client:
        plain = client.chat.completions.create(model="o3", messages=MESSAGES)
        chunks = list(client.chat.completions.create(**ASK))
    assert plain.choices[0].message.content == "So \ud83d"
    assert text_of(chunks) == "So \ud83d"
    assert done(path) == 2


@pytest.mark.parametrize("stream", [False, True])
def test_a_response_that_is_nested_deep(stream: bool, path: str) -> None:
    """A plain one is written as it came; a stream that cannot be put together is warned about."""
    deep: Any = "x"
    for _ in range(400):
        deep = [deep]
    message = {"role": "assistant", "content": "Blue.", "deep": deep}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    answer = {"id": "c", "object": "chat.completion", "choices": [choice], "model": "o3"}

    def serve(_: Any) -> Any:
        content = as_event_stream(answer) if stream else json.dumps(answer)
        kind = "text/event-stream" if stream else "application/json"
        return http.Response(200, headers={"content-type": kind}, content=content)

    transport = http.Client(transport=http.MockTransport(serve))
    made = options("http://localhost", FLEX.replace(journal=path), http_client=transport)
    with FlexOpenAI(**made) as client, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        said = client.chat.completions.create(**{**ASK, "stream": stream})
        text = (
            "".join(c.choices[0].delta.content or "" for c in said)
            if stream
            else said.choices[0].message.content
        )
    assert text == "Blue."
    assert [warning.category for warning in caught] == [JournalWarning] * stream
    assert done(path) == (not stream)
