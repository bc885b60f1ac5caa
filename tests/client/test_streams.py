"""Streams over real sockets: tried again until the first event, whole or an error after it."""

from __future__ import annotations

import asyncio
import json
import threading
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import openai
import pytest

from flextier import (
    AsyncFlexOpenAI,
    FlexOpenAI,
    StreamInterruptedError,
    StreamUnverifiedWarning,
    track,
)
from flextier._openai.single_chunk_stream import as_event_stream
from flextier.sim import Fault, Simulator
from tests.client.callers import FAST, KEY, MESSAGES, Caller, settled

pytestmark = pytest.mark.sampled(2)

BEFORE_THE_FIRST_EVENT = {
    "refused-in-the-stream": (Fault.stream_error(), "capacity"),
    "server-error-in-the-stream": (Fault.stream_error(code="server_error"), "transient"),
    "ended-at-once": (Fault.stream_end(after=0), "transient"),
    "reset-at-once": (Fault.stream_reset(after=0), "transient"),
}


@pytest.mark.parametrize(
    ("fault", "outcome"), BEFORE_THE_FIRST_EVENT.values(), ids=BEFORE_THE_FIRST_EVENT
)
def test_a_stream_is_tried_again_before_its_first_event(
    fault: Fault, outcome: str, stream: Caller, sim: Simulator
) -> None:
    """What goes wrong before the first event is the ladder's business, not the caller's."""
    sim.script(fault)

    result = stream(sim.base_url)

    assert result.outcomes == [outcome, "served"]
    assert result.text
    assert len(sim.requests) == 2


@pytest.mark.parametrize("is_async", [False, True])
def test_a_refusal_after_the_role_is_tried_again(is_async: bool, sim: Simulator) -> None:
    """Streams of chat completions begin with the role of the answer."""
    sim.script(Fault.stream_error(after=1))

    result = Caller("chat", stream=True, is_async=is_async)(sim.base_url)

    assert result.outcomes == ["capacity", "served"]


@pytest.mark.parametrize("after", [0, 1, 2])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_refusal_after_the_preamble_is_tried_again(
    after: int, is_async: bool, sim: Simulator
) -> None:
    """Responses streams begin with events without output: a refusal may still follow."""
    sim.script(Fault.stream_error(after=after, how="failed"))

    result = Caller("responses", stream=True, is_async=is_async)(sim.base_url)

    assert result.outcomes == ["capacity", "served"]


AFTER_THE_FIRST_EVENT = {
    "ended-early": (Fault.stream_end(after=3), StreamInterruptedError),
    "reset": (Fault.stream_reset(after=3), StreamInterruptedError),
    "error-event": (Fault.stream_error(after=3), openai.APIError),
}


@pytest.mark.parametrize(
    ("fault", "error"), AFTER_THE_FIRST_EVENT.values(), ids=AFTER_THE_FIRST_EVENT
)
def test_a_fault_after_the_first_event_reaches_the_caller(
    fault: Fault, error: type[Exception], stream: Caller, sim: Simulator
) -> None:
    """Part of an answer is never passed off as all of it, and never asked for twice."""
    sim.script(fault)

    result = stream(sim.base_url)

    assert isinstance(result.error, error)
    assert isinstance(result.error, openai.OpenAIError)
    assert result.outcomes == ["interrupted"]
    assert result.report.attempts[0].possibly_billed
    assert len(sim.requests) == 1


@pytest.mark.parametrize("is_async", [False, True])
def test_a_failed_response_late_in_the_stream_raises(is_async: bool, sim: Simulator) -> None:
    """`response.failed` after the answer began is handed over, and then raised."""
    sim.script(Fault.stream_error(after=4, how="failed"))

    result = Caller("responses", stream=True, is_async=is_async)(sim.base_url)

    assert isinstance(result.error, openai.APIError)
    assert result.error.code == "flex_unavailable"


def test_silence_between_events_is_bounded(stream: Caller, sim: Simulator) -> None:
    """A stream that falls silent for longer than an attempt may take ends in a timeout."""
    sim.script(Fault.stream_stall(after=4))

    result = stream(sim.base_url, FAST.replace(flex_timeout=0.5))

    assert isinstance(result.error, openai.APITimeoutError)
    assert len(sim.requests) == 1


def test_what_was_seen_before_the_fault_is_handed_over(sim: Simulator) -> None:
    """Every event that arrived before a stream broke reaches the caller first."""
    sim.script(Fault.stream_end(after=3))
    with FlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=FAST) as client:
        stream = client.chat.completions.create(model="o3", messages=MESSAGES, stream=True)
        seen = []
        with pytest.raises(StreamInterruptedError):
            seen.extend(iter(stream))  # extend keeps what came before the error
        assert len(seen) <= 3


def test_a_closed_stream_is_reported_as_cancelled(sim: Simulator) -> None:
    """A caller who stops reading gets a report of what the call went through so far."""
    with FlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=FAST) as client, track() as calls:
        with client.responses.create(model="o3", input="Hi.", stream=True) as stream:
            next(stream)
        assert [a.outcome for a in calls[0].attempts] == ["cancelled"]
        assert calls[0].attempts[0].possibly_billed


def test_the_report_of_a_stream_has_lane_usage_and_request_id(sim: Simulator) -> None:
    """A streamed call is reported like a plain one, when its stream ends."""
    with FlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=FAST) as client, track() as calls:
        stream = client.chat.completions.create(
            model="o3", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
        assert calls == []
        chunks = list(stream)
    report = calls[0]
    usage = chunks[-1].usage
    assert usage is not None
    assert report.usage is not None
    assert report.usage.output_tokens == usage.completion_tokens
    assert report.usage.reasoning_tokens > 0
    assert report.lane == "flex"
    assert report.attempts[0].request_id == stream.response.headers["x-request-id"]


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_the_sdks_stream_helpers(api: str, sim: Simulator) -> None:
    """`client.chat.completions.stream()` and `client.responses.stream()` work on our streams."""
    sim.script(Fault.refuse())
    with FlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=FAST) as client:
        if api == "chat":
            with client.chat.completions.stream(model="o3", messages=MESSAGES) as events:
                assert [event.type for event in events][-1] == "content.done"
                assert events.get_final_completion().choices[0].message.content
        else:
            with client.responses.stream(model="o3", input="Hi.") as stream:
                assert [event.type for event in stream][-1] == "response.completed"
                assert stream.get_final_response().output_text
    assert len(sim.requests) == 2


async def test_the_sdks_async_stream_helpers(sim: Simulator) -> None:
    """The async helpers work, too."""
    sim.script(Fault.stream_error(), Fault.serve(), Fault.stream_error())
    async with AsyncFlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=FAST) as client:
        async with client.chat.completions.stream(model="o3", messages=MESSAGES) as events:
            async for _ in events:
                pass
            assert (await events.get_final_completion()).choices[0].message.content
        async with client.responses.stream(model="o3", input="Hi.") as stream:
            assert (await stream.get_final_response()).output_text
    assert len(sim.requests) == 4


def test_with_raw_response_streams(sim: Simulator) -> None:
    """A raw response keeps its headers, and its stream is ours: whole or an error."""
    sim.script(Fault.refuse(), Fault.stream_end(after=2))
    with FlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=FAST) as client:
        raw = client.chat.completions.with_raw_response.create(
            model="o3", messages=MESSAGES, stream=True
        )
        assert raw.headers["x-flextier-simulated"] == "true"
        with pytest.raises(StreamInterruptedError):
            list(raw.parse())
    assert len(sim.requests) == 2


def test_n_choices_must_all_be_finished(sim: Simulator) -> None:
    """With two choices, one that is finished does not make the stream whole."""
    whole = _count_chunks(sim, n=2)
    sim.script(Fault.stream_end(after=whole - 1))
    with pytest.raises(StreamInterruptedError):
        _count_chunks(sim, n=2)


def _count_chunks(sim: Simulator, **arguments: Any) -> int:
    with FlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=FAST) as client:
        chunks = client.chat.completions.create(
            model="o3", messages=MESSAGES, stream=True, **arguments
        )
        return len(list(chunks))


# --- one chunk where streaming needs verification ---------------------------------------------


def test_an_unverified_stream_comes_in_one_chunk(stream: Caller, sim: Simulator) -> None:
    """The answer is asked for without streaming, and a warning says where to verify."""
    sim.script(Fault.unverified())

    with pytest.warns(StreamUnverifiedWarning, match="settings/organization"):
        result = stream(sim.base_url)

    assert result.outcomes == ["stream_unverified", "served"]
    assert result.text
    assert [request.stream for request in sim.requests] == [True, False]
    assert [request.tier for request in sim.requests] == ["flex", "flex"]


def test_an_unverified_stream_still_has_the_failure_table(stream: Caller, sim: Simulator) -> None:
    """The plain call in a stream's place is routed like any other."""
    sim.script(Fault.unverified(), Fault.refuse())

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StreamUnverifiedWarning)
        result = stream(sim.base_url)

    assert result.outcomes == ["stream_unverified", "capacity", "served"]
    assert [request.stream for request in sim.requests] == [True, False, False]


def test_one_chunk_has_the_requested_usage(sim: Simulator) -> None:
    """`include_usage` is honoured where the stream comes in one chunk."""
    sim.script(Fault.unverified())
    with (
        FlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=FAST) as client,
        pytest.warns(StreamUnverifiedWarning),
    ):
        chunks = list(
            client.chat.completions.create(
                model="o3", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
            )
        )
    assert [chunk.choices[0].finish_reason if chunk.choices else 0 for chunk in chunks] == [
        None,
        "stop",
        0,
    ]
    assert chunks[2].usage is not None


def test_unverified_for_raw_and_streaming_responses(sim: Simulator) -> None:
    """`with_raw_response` and `with_streaming_response` get the one-chunk stream, too."""
    sim.script(Fault.unverified(), Fault.serve(), Fault.unverified(), Fault.serve())
    body: Any = {"model": "o3", "messages": MESSAGES, "stream": True}
    with FlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=FAST) as client:
        completions = client.chat.completions
        with pytest.warns(StreamUnverifiedWarning):
            assert len(list(completions.with_raw_response.create(**body).parse())) == 2
        with (
            pytest.warns(StreamUnverifiedWarning),
            completions.with_streaming_response.create(**body) as response,
        ):
            assert [line for line in response.iter_lines() if line][-1] == "data: [DONE]"


def test_a_summary_that_needs_verification_is_rejected(sim: Simulator) -> None:
    """Only streaming has a way around; a reasoning summary that is refused is the caller's."""
    sim.script(Fault.unverified(param="reasoning.summary"))

    result = Caller("responses", stream=False, is_async=False)(sim.base_url)

    assert isinstance(result.error, openai.BadRequestError)
    assert len(sim.requests) == 1


def test_a_stream_left_half_way_leaves_nothing(own_sim: Simulator) -> None:
    """An async stream that is closed half-way is gone when its loop is."""

    async def half_way() -> None:
        client = AsyncFlexOpenAI(base_url=own_sim.base_url, api_key=KEY, policy=FAST)
        stream = await client.responses.create(model="o3", input="Hi.", stream=True)
        async for _ in stream:
            break
        await stream.close()
        await client.close()

    asyncio.run(half_way())
    assert settled(own_sim) == 0


# --- streams that are left ----------------------------------------------------------------------


def test_a_helper_that_is_left_early_is_reported(sim: Simulator) -> None:
    """The SDK's helpers close the response, not the stream: the report comes all the same."""
    with FlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=FAST) as client, track() as calls:
        with client.responses.stream(model="o3", input="Hi.") as stream:
            next(iter(stream))
        with client.chat.completions.stream(model="o3", messages=MESSAGES) as events:
            next(iter(events))
    assert [call.attempts[0].outcome for call in calls] == ["cancelled", "cancelled"]


async def test_an_async_helper_that_is_left_early_is_reported(sim: Simulator) -> None:
    """The async version."""
    with track() as calls:
        async with (
            AsyncFlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=FAST) as client,
            client.responses.stream(model="o3", input="Hi.") as stream,
        ):
            async for _ in stream:
                break
    assert [call.attempts[0].outcome for call in calls] == ["cancelled"]


def test_who_stops_at_the_last_event_has_seen_it_all(sim: Simulator) -> None:
    """`response.completed` ends the call, whether or not anybody asks for what follows."""
    with FlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=FAST) as client, track() as calls:
        stream = client.responses.create(model="o3", input="Hi.", stream=True)
        for event in stream:
            if event.type == "response.completed":
                break
        assert [call.served for call in calls] == [True]
        assert calls[0].usage is not None
        stream.close()
    assert len(calls) == 1


RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "model": "o3",
    "service_tier": "flex",
    "output": [
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Blue.", "annotations": []}],
        }
    ],
}


CHUNKS = [
    {"index": 0, "delta": {"role": "assistant", "content": "Blue."}, "finish_reason": None},
    {"index": 0, "delta": {}, "finish_reason": "stop"},
]
COMPLETION = b"".join(
    b"data: "
    + json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "o3",
            "service_tier": "flex",
            "choices": [choice],
        }
    ).encode()
    + b"\n\n"
    for choice in CHUNKS
)


_ERROR = {"message": "Unsupported service_tier: flex", "code": "unsupported_value", "param": None}
UNSUPPORTED = [
    b"data: "
    + json.dumps({"error": {**_ERROR, "type": "invalid_request_error"}}).encode()
    + b"\n\n",
    b"event: error\ndata: "
    + json.dumps({"type": "error", "sequence_number": 0, **_ERROR}).encode()
    + b"\n\n",
]
"""The first event of a chat stream, and of a Responses stream, for a model without flex."""


class Lingerer(BaseHTTPRequestHandler):
    """Sends a whole answer without the end of its stream, which the simulator never does: then it
    leaves the connection open, or cuts it."""

    protocol_version = "HTTP/1.1"
    left = threading.Event()

    def do_POST(self) -> None:
        """Answer, and linger."""
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        answer = as_event_stream(RESPONSE) if "responses" in self.path else COMPLETION
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        if "unsupported" in self.path and asked["service_tier"] == "flex":
            answer = UNSUPPORTED["responses" in self.path]
        self.wfile.write(b"%x\r\n%s\r\n" % (len(answer), answer))
        self.close_connection = True
        if "linger" in self.path:
            self.left.wait(60)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def lingering_url() -> Iterator[str]:
    """The address of a server whose streams do not end."""
    Lingerer.left.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Lingerer) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        Lingerer.left.set()
        server.shutdown()


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize("then", ["linger", "cut"])
def test_a_stream_without_an_end(then: str, api: str, is_async: bool, lingering_url: str) -> None:
    """A whole answer is one, whether its connection then stays open or is cut."""
    caller = Caller(api, stream=True, is_async=is_async)

    result = caller(f"{lingering_url}/{then}/v1", FAST)

    assert result.error is None
    assert result.text == "Blue."
    assert result.outcomes == ["served"]
    assert result.report.elapsed < FAST.flex_timeout / 2


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("api", ["chat", "responses"])
def test_a_tier_that_the_first_event_refuses(api: str, is_async: bool, lingering_url: str) -> None:
    """The call goes to the next lane, as after a 400 that says the same."""
    caller = Caller(api, stream=True, is_async=is_async)

    result = caller(f"{lingering_url}/unsupported/v1", FAST)

    assert result.outcomes == ["lane_unsupported", "served"]
    assert [attempt.lane for attempt in result.report.attempts] == ["flex", "standard"]
