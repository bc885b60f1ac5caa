"""The usage of chat streams: requested on the wire, priced, withheld if it was not requested."""

from __future__ import annotations

import asyncio
import json
import socket
import time
import warnings
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import anyio
import openai
import pytest

from flextier import (
    AsyncFlexOpenAI,
    CallReport,
    FlexOpenAI,
    FlexPolicy,
    StreamUnverifiedWarning,
    track,
)
from flextier._openai.http_library import http
from flextier.calls.hooks import CallStart, add_hook, remove_hook
from flextier.capacity import CAPACITY
from flextier.sim import Fault, Simulator
from tests.client.callers import FAST, KEY, MESSAGES
from tests.client.servers import chunk, event_stream, serving

REQUESTED = {"include_usage": True}
USAGE = {"prompt_tokens": 9, "completion_tokens": 200, "total_tokens": 209}
TEXT = "Red, like a fox in the snow."


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def is_async(request: pytest.FixtureRequest) -> bool:
    """Both clients."""
    return bool(request.param)


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    """What is known of a server is forgotten: the next one may have its port."""
    yield
    CAPACITY.reset()


def stream(
    base_url: str,
    *,
    is_async: bool,
    stop: bool = False,
    close: bool = False,
    policy: FlexPolicy = FAST,
    **body: Any,
) -> tuple[list[Any], CallReport]:
    """The chunks of a chat stream and the call's report.

    With ``stop``, up to the finish reason; with ``close``, it is closed then.
    """
    options: Any = {"base_url": base_url, "api_key": KEY, "policy": policy}
    arguments: Any = {"model": "o3", "messages": MESSAGES, "stream": True, **body}
    with track() as calls:
        if is_async:
            chunks = asyncio.run(_aread(options, arguments, calls, stop=stop, close=close))
        else:
            chunks = _read(options, arguments, stop=stop, close=close)
    (report,) = calls
    return chunks, report


def _ends(one: Any) -> bool:
    return any(choice.finish_reason for choice in one.choices)


def _read(options: Any, arguments: Any, *, stop: bool, close: bool) -> list[Any]:
    chunks = []
    with FlexOpenAI(**options) as client:
        answer: Any = client.chat.completions.create(**arguments)
        for one in answer:
            chunks.append(one)
            if stop and _ends(one):
                break
        if close:
            answer.close()
    return chunks


async def _aread(
    options: Any, arguments: Any, calls: list[CallReport], *, stop: bool, close: bool
) -> list[Any]:
    chunks = []
    async with AsyncFlexOpenAI(**options) as client:
        answer: Any = await client.chat.completions.create(**arguments)
        async for one in answer:
            chunks.append(one)
            if stop and _ends(one):
                break
        if close:
            await answer.close()
        with anyio.fail_after(5):
            while not calls:  # asyncio closes a generator that is left soon after
                await asyncio.sleep(0.01)
    return chunks


def test_a_stream_that_did_not_ask_is_priced(is_async: bool, sim: Simulator) -> None:
    """Usage is requested on the wire; the chunk that brings it is withheld."""
    plain, report = stream(sim.base_url, is_async=is_async)
    asked, _ = stream(sim.base_url, is_async=is_async, stream_options=REQUESTED)

    assert (report.cost.basis, report.usage_estimated) == ("exact", False)
    assert all(chunk.choices for chunk in plain)
    assert len(plain) == len(asked) - 1
    assert asked[-1].usage is not None
    assert [request.body["stream_options"] for request in sim.requests] == [REQUESTED] * 2


@pytest.mark.parametrize("options", [{"include_usage": False}, {}, None])
@pytest.mark.parametrize("extra", [False, True])
def test_explicit_stream_options_are_not_changed(options: Any, extra: bool, sim: Simulator) -> None:
    """A caller that sets ``stream_options`` decides; without usage, no cost is known."""
    body = {"stream_options": options}
    _, report = stream(sim.base_url, is_async=False, **({"extra_body": body} if extra else body))

    assert sim.requests[0].body["stream_options"] == options
    assert (report.usage, report.cost.basis) == (None, "unpriced")


def test_responses_streams_are_left_alone(sim: Simulator) -> None:
    """They have their usage without asking."""
    with FlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=FAST) as client:
        list(client.responses.create(model="o3", input="Hi.", stream=True))
    assert "stream_options" not in sim.requests[0].body


# --- servers that reject the field ----------------------------------------------------------------

REJECTIONS = {
    "400": (400, {"error": {"message": "Unrecognized request argument: stream_options"}}),
    "400-param": (400, {"error": {"message": "Unknown field.", "param": "stream_options"}}),
    "422": (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"]}]}),
    "422-unnamed": (422, {"detail": "Extra inputs are not permitted"}),
}


class Server:
    """Answers streams; rejects ``stream_options`` with ``rejection``, if there is one."""

    def __init__(self, rejection: Any = None, rest: float = 0.0, *more: Any) -> None:
        self.rejection = rejection
        self.rest = rest
        """Seconds after the finish reason until the usage follows."""
        self.more = more
        self.bodies: list[Any] = []

    def __call__(self, connection: socket.socket) -> None:
        """Answer one request."""
        self.bodies.append(_body(connection))
        if self.rejection is not None and "stream_options" in self.bodies[-1]:
            status, body = self.rejection
            connection.sendall(_json(status, body))
            return
        connection.sendall(event_stream(chunk(TEXT), chunk("", "stop"), done=False))
        time.sleep(self.rest)
        usage = [chunk(choices=[], usage=USAGE)] if self.rejection is None else []
        connection.sendall(event_stream(*usage, *self.more).partition(b"\r\n\r\n")[2])


def _body(connection: socket.socket) -> Any:
    data = b""
    while b"\r\n\r\n" not in data or not data.endswith(b"}"):
        data += connection.recv(65536)
    return json.loads(data.partition(b"\r\n\r\n")[2])


def _json(status: int, body: Any) -> bytes:
    content = json.dumps(body)
    head = f"HTTP/1.1 {status} x\r\ncontent-type: application/json\r\nconnection: close\r\n"
    return f"{head}content-length: {len(content)}\r\n\r\n{content}".encode()


@pytest.mark.parametrize("rejection", REJECTIONS.values(), ids=REJECTIONS)
def test_a_rejected_request_for_usage(rejection: Any, is_async: bool) -> None:
    """The call is repeated without it, which is no retry; later calls do not ask."""
    server = Server(rejection)
    retries: list[Any] = []

    def hook(start: CallStart) -> Any:
        return SimpleNamespace(retried=retries.append, ended=lambda report: None)

    add_hook(hook)
    try:
        with serving(server) as address:
            url = f"http://{address}/v1"
            results = [stream(url, is_async=is_async) for _ in range(2)]
    finally:
        remove_hook(hook)

    outcomes = [[attempt.outcome for attempt in report.attempts] for _, report in results]
    assert outcomes == [["usage_unsupported", "served"], ["served"]]
    assert ["stream_options" in body for body in server.bodies] == [True, False, False]
    assert retries == []
    for chunks, report in results:
        assert len(chunks) == 2
        assert report.lane == "flex"
        assert (report.cost.basis, report.usage_estimated) == ("estimated", True)
        assert "estimated by its text" in str(report.cost.reason)


def test_a_rejection_of_something_else_that_quotes_the_field() -> None:
    """The call is repeated once, and rejected; the server is asked for usage again."""
    quoting = {"detail": [{"loc": ["body", "seed"], "input": {"stream_options": REQUESTED}}]}
    bodies: list[Any] = []

    def rejecting(connection: socket.socket) -> None:
        bodies.append(_body(connection))
        connection.sendall(_json(422, quoting))

    with serving(rejecting) as address:
        for _ in range(2):
            with pytest.raises(openai.UnprocessableEntityError):
                stream(f"http://{address}/v1", is_async=False)

    assert ["stream_options" in body for body in bodies] == [True, False] * 2


# --- callers who stop at the finish reason --------------------------------------------------------


@pytest.mark.parametrize("rest", [0.0, 0.3])
@pytest.mark.parametrize("close", [False, True])
def test_who_stops_at_the_finish_reason_is_priced(close: bool, rest: float, is_async: bool) -> None:
    """The usage that has arrived, or follows within a second, is in the report."""
    with serving(Server(rest=rest)) as address:
        chunks, report = stream(f"http://{address}/v1", is_async=is_async, stop=True, close=close)

    assert len(chunks) == 2
    assert report.usage is not None
    assert report.usage.output_tokens == 200
    assert (report.served, report.cost.basis) == (True, "exact")


def test_a_refusal_is_estimated_too(is_async: bool) -> None:
    """A stream that has no text, as the model refuses, is not unpriced where usage is missing."""
    refusal = {"choices": [{"index": 0, "delta": {"refusal": "I cannot help."}}]}

    def serve(connection: socket.socket) -> None:
        _body(connection)
        connection.sendall(event_stream(chunk(**refusal), chunk("", "stop")))

    with serving(serve) as address:
        _, report = stream(f"http://{address}/v1", is_async=is_async)
    assert report.usage_estimated
    assert report.usage is not None
    assert report.usage.output_tokens > 0


def test_usage_that_does_not_come(is_async: bool) -> None:
    """After a second the stream is closed, and its tokens are estimated."""
    with serving(Server(rest=3.0)) as address:
        began = time.monotonic()
        _, report = stream(f"http://{address}/v1", is_async=is_async, stop=True)
        took = time.monotonic() - began

    assert took < 2.8
    assert report.usage is not None
    assert report.usage.output_tokens == len(TEXT) / 4
    assert (report.served, report.cost.basis) == (True, "estimated")


@pytest.mark.parametrize("how", ["close", "with", "helper"])
def test_closing_reads_the_usage(how: str, sim: Simulator) -> None:
    """A stream that is closed at the finish reason is priced, also where usage was requested."""
    with FlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=FAST) as client, track() as calls:
        completions = client.chat.completions
        body: Any = {"model": "o3", "messages": MESSAGES, "stream_options": REQUESTED}
        if how == "helper":
            with completions.stream(**body) as events:
                for event in events:
                    if event.type == "chunk" and event.chunk.choices[0].finish_reason:
                        break
        else:
            chunks = completions.create(stream=True, **body)
            while not next(chunks).choices[0].finish_reason:
                pass
            if how == "close":
                chunks.close()
            else:
                with chunks:
                    pass
    assert [(call.served, call.cost.basis) for call in calls] == [(True, "exact")]


async def test_closing_reads_the_usage_async(sim: Simulator) -> None:
    """The async version."""
    async with AsyncFlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=FAST) as client:
        with track() as calls:
            body: Any = {"model": "o3", "messages": MESSAGES, "stream_options": REQUESTED}
            chunks = await client.chat.completions.create(stream=True, **body)
            async for one in chunks:
                if one.choices[0].finish_reason:
                    break
            await chunks.close()
    assert [(call.served, call.cost.basis) for call in calls] == [(True, "exact")]


def test_who_goes_on_reading_gets_the_requested_chunk(sim: Simulator) -> None:
    """A second loop over a stream that was left at the finish reason has the usage."""
    with FlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=FAST) as client:
        chunks = client.chat.completions.create(
            model="o3", messages=MESSAGES, stream=True, stream_options=REQUESTED
        )
        for one in chunks:
            if one.choices[0].finish_reason:
                break
        assert [one.usage is not None for one in chunks] == [True]


def test_who_leaves_before_the_end_is_not_priced(sim: Simulator) -> None:
    """A stream closed half-way is cancelled: its usage is not waited for."""
    with FlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=FAST) as client, track() as calls:
        chunks = client.chat.completions.create(model="o3", messages=MESSAGES, stream=True)
        next(chunks)
        chunks.close()
    assert calls[0].usage is None
    assert calls[0].attempts[0].outcome == "cancelled"


def test_azures_first_chunk_is_handed_over(is_async: bool) -> None:
    """A chunk without choices that has no usage is the caller's: Azure's filter results."""
    filters = chunk(choices=[], prompt_filter_results=[])

    def handler(connection: socket.socket) -> None:
        _body(connection)
        usage = chunk(choices=[], usage=USAGE)
        connection.sendall(event_stream(filters, chunk(TEXT), chunk("", "stop"), usage))

    with serving(handler) as address:
        chunks, report = stream(f"http://{address}/v1", is_async=is_async)
    assert [len(one.choices) for one in chunks] == [0, 1, 1]
    assert report.cost.basis == "exact"


# --- readers of bytes, and one-chunk streams ------------------------------------------------------


@pytest.mark.parametrize("asked", [False, True])
def test_readers_of_bytes(asked: bool, sim: Simulator) -> None:
    """``iter_lines`` has no usage chunk either, unless it was requested."""
    body: Any = {"model": "o3", "messages": MESSAGES, "stream": True}
    body |= {"stream_options": REQUESTED} if asked else {}
    with (
        FlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=FAST) as client,
        track() as calls,
        client.chat.completions.with_streaming_response.create(**body) as response,
    ):
        *lines, end = [line for line in response.iter_lines() if line]
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert end == "data: [DONE]"
    assert [bool(one["choices"]) for one in chunks].count(False) == asked
    assert calls[0].cost.basis == "exact"


@pytest.mark.parametrize("lane", ["flex", "batch"])
@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("asked", [False, True])
def test_one_chunk_streams_have_their_usage(
    lane: str, stop: bool, asked: bool, is_async: bool, sim: Simulator
) -> None:
    """A stream that is made from a whole response is priced by it, whether or not it was asked."""
    if lane == "flex":
        sim.script(Fault.unverified())
    batch: Any = {"batch_window": 0.1, "batch_min_calls": 1, "batch_poll_interval": 0.1}
    policy = FAST.replace(lanes=(lane,), **batch)
    body = {"stream_options": REQUESTED} if asked else {}

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StreamUnverifiedWarning)
        chunks, report = stream(
            sim.base_url, is_async=is_async, stop=stop, policy=policy, close=True, **body
        )

    assert (report.lane, report.usage_estimated) == (lane, False)
    assert report.usage is not None
    assert len(chunks) == (3 if asked and not stop else 2)


@pytest.mark.parametrize("first", [False, True], ids=["last", "first"])
@pytest.mark.parametrize(
    ("odd", "known"),
    [
        ({"choices": None, "usage": USAGE}, True),
        ({"usage": USAGE}, True),
        ({"choices": [], "usage": USAGE}, True),
        ({"choices": [], "usage": {}}, False),
        ({"choices": [], "usage": {**USAGE, "completion_tokens": None}}, False),
    ],
    ids=["null", "left-out", "empty", "no-usage", "null-usage"],
)
def test_a_chunk_without_choices_is_withheld(odd: dict[str, Any], known: bool, first: bool) -> None:
    """Gateways write it in several ways; callers read `choices[0]` of each chunk."""
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "o3"}
    words = [
        {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ]
    chunks = [{**head, **chunk} for chunk in ([odd, *words] if first else [*words, odd])]
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    answer = http.Response(200, content=body, headers={"content-type": "text/event-stream"})
    client = FlexOpenAI(
        base_url="http://sim.invalid/v1",
        api_key=KEY,
        http_client=http.Client(transport=http.MockTransport(lambda request: answer)),
    )
    with client, track() as calls:
        stream = client.chat.completions.create(model="o3", messages=MESSAGES, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "a"
    assert calls[0].usage is not None
    assert calls[0].usage_estimated is not known
