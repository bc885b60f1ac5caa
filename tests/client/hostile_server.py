"""A server whose answers are right or broken in one way, drawn from a seed that the call names."""

from __future__ import annotations

import json
import random
import re
import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pydantic

JSON, EVENTS = "application/json", "text/event-stream; charset=utf-8"
TEXT = '{"colour": "red"}'
SEED = re.compile(rb"seed (\d+)")
ODD: list[Any] = [
    None, [], {}, "", -1, 0, True, 1e308, "x" * 3_000, [None], [{}], {"a": [[]]}, 10**30, "null",
]  # fmt: skip
PAGES = [
    b"", b"null", b"[]", b"{}", b'"text"', b"123", b"\xff\xfe\xfa",
    b"[" * 50_000, b"{" + b'"a":{' * 9_000,
    b'{"a": ' + b"9" * 5_000 + b"}", b"<html><body>502 Bad Gateway</body></html>",
    b'{"error": {"message": "upstream failed", "code": 502}}', b'{"error": "upstream failed"}',
    b'{"error": null}', b'{"choices": null}', b'{"choices": []}', b'{"output": null}', b"NaN",
    b'{"status": "failed", "error": null}', b'{"detail": "Not Found"}',
]  # fmt: skip
STATUSES = [201, 202, 204, 400, 401, 403, 404, 408, 409, 413, 418, 422, 429, 498, 500, 502, 503]


def chat(model: str, tier: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": TEXT, "refusal": None}
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model,
        "service_tier": tier,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14},
    }  # fmt: skip


def response(model: str, tier: str, status: str = "completed") -> dict[str, Any]:
    part = {"type": "output_text", "text": TEXT, "annotations": []}
    message = {
        "id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
        "content": [part],
    }  # fmt: skip
    return {
        "id": "resp_1", "object": "response", "created_at": 1, "status": status, "model": model,
        "service_tier": tier, "output": [message] if status == "completed" else [],
        "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "error": None,
        "incomplete_details": None, "instructions": None, "metadata": {},
        "usage": {
            "input_tokens": 9, "output_tokens": 5, "total_tokens": 14,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        } if status == "completed" else None,
    }  # fmt: skip


def chat_events(model: str, tier: str) -> list[dict[str, Any]]:
    head = {
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model,
        "service_tier": tier,
    }  # fmt: skip
    deltas: list[dict[str, Any]] = [
        {"role": "assistant", "content": ""}, {"content": '{"colour":'}, {"content": ' "red"}'}, {},
    ]  # fmt: skip
    ends = [None, None, None, "stop"]
    return [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": end}]}
        for delta, end in zip(deltas, ends, strict=True)
    ]


def response_events(model: str, tier: str) -> list[dict[str, Any]]:
    done = response(model, tier)
    item = {**done["output"][0], "content": []}
    part = {"type": "output_text", "text": "", "annotations": []}
    place = {"output_index": 0, "content_index": 0, "item_id": "msg_1"}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": response(model, tier, "in_progress")},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.content_part.added", "part": part, **place},
        {"type": "response.output_text.delta", "delta": TEXT, "logprobs": [], **place},
        {"type": "response.output_text.done", "text": TEXT, "logprobs": [], **place},
        {"type": "response.content_part.done", "part": done["output"][0]["content"][0], **place},
        {"type": "response.output_item.done", "output_index": 0, "item": done["output"][0]},
        {"type": "response.completed", "response": done},
    ]
    return [{**event, "sequence_number": n} for n, event in enumerate(events)]


def sse(events: list[Any]) -> bytes:
    lines = []
    for event in events:
        name = event.get("type") if isinstance(event, dict) else None
        lines.append((f"event: {name}\n" if name else "") + f"data: {json.dumps(event)}\n\n")
    return "".join(lines).encode()


def odd_value(rng: random.Random, value: Any) -> Any:
    """The value with one part, at any depth, replaced or left out."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        if rng.random() < 0.25:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: odd_value(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.85:
        at = rng.randrange(len(value))
        return [*value[:at], odd_value(rng, value[at]), *value[at + 1 :]]
    return rng.choice(ODD)


class Reply:
    """An answer on its way: each method breaks it in one way."""

    def __init__(self, status: int, body: bytes, content_type: str) -> None:
        self.status, self.body, self.content_type = status, body, content_type
        self.headers: dict[str, str] = {}
        self.promised: int | None = None
        self.whole = True

    def break_one_thing(self, rng: random.Random, content: Any) -> None:
        """Break it; ``content`` is what the body says, a list of events for a stream."""
        self.whole = False
        ways = [self._page, self._cut, self._type, self._status, self._short, self._zip]
        ways += [self._value] * 5
        if isinstance(content, list):
            ways += [self._events] * 6
        rng.choice(ways)(rng, content)

    def _page(self, rng: random.Random, _: Any) -> None:
        self.body = rng.choice(PAGES)

    def _value(self, rng: random.Random, content: Any) -> None:
        odd = odd_value(rng, content)
        stream = isinstance(content, list) and isinstance(odd, list)
        self.body = sse(odd) + b"data: [DONE]\n\n" if stream else json.dumps(odd).encode()

    def _cut(self, rng: random.Random, _: Any) -> None:
        self.body = self.body[: rng.randrange(len(self.body))]

    def _type(self, rng: random.Random, _: Any) -> None:
        self.content_type = rng.choice(["text/html", "text/plain", "", "application/octet-stream"])

    def _status(self, rng: random.Random, _: Any) -> None:
        self.status = rng.choice(STATUSES)
        error = {"message": "Some error.", "type": "some_error", "param": None, "code": "some_code"}
        self.content_type = JSON
        self.body = json.dumps(odd_value(rng, {"error": error})).encode()
        self.headers["retry-after"] = rng.choice(["0.01", "-1", "nan", "soon", "60", ""])

    def _short(self, _: random.Random, __: Any) -> None:
        self.promised = len(self.body) + 100

    def _zip(self, rng: random.Random, _: Any) -> None:
        packed = zlib.compress(self.body)
        self.headers["content-encoding"] = rng.choice(["gzip", "deflate"])
        self.body = packed[: len(packed) - rng.randrange(4)]

    def _events(self, rng: random.Random, content: Any) -> None:
        events = list(content)
        at = rng.randrange(len(events))
        match rng.randrange(6):
            case 0:
                del events[at]
            case 1:
                events.insert(at, events[at])
            case 2:
                rng.shuffle(events)
            case 3:
                events[at:] = [{"error": {"message": "Boom", "type": "server_error", "code": None}}]
            case 4:
                events[at] = odd_value(rng, events[at])
            case _:
                error = {"type": "error", "code": rng.choice(ODD), "message": rng.choice(ODD)}
                events[at:] = [error]
        end = rng.choice([b"data: [DONE]\n\n", b"", b"data: {", b": comment\n\n"])
        self.body = sse(events) + end


class Colour(pydantic.BaseModel):
    """What ``parse`` reads."""

    colour: str


def start(client: Any, way: str, seed: int) -> Any:
    """The SDK's call, or the coroutine of it."""
    api, _, kind = way.partition("-")
    text = f"Name a colour. seed {seed}"
    body: dict[str, Any] = {"model": "o3"}
    body |= {"messages": [{"role": "user", "content": text}]} if api == "chat" else {"input": text}
    resource = client.chat.completions if api == "chat" else client.responses
    match kind:
        case "create":
            return resource.create(**body)
        case "parse":
            name = "response_format" if api == "chat" else "text_format"
            return resource.parse(**body, **{name: Colour})
        case "raw":
            return resource.with_raw_response.create(**body)
        case "stream":
            return resource.create(stream=True, **body)
        case _:
            return resource.with_raw_response.create(stream=True, **body)


class HostileServer:
    """Answers model calls; counts, by seed, the whole answers that it has sent."""

    def __init__(self, broken: float = 0.7) -> None:
        self.whole: Counter[int] = Counter()
        self.requests: Counter[int] = Counter()
        self.polls: Counter[int] = Counter()
        self._broken = broken
        self._lock = threading.Lock()

    def reply(self, path: str, body: bytes) -> Reply:
        """The answer to a POST of a model call; a background one is queued."""
        found = SEED.search(body)
        assert found is not None, body[:200]
        seed, asked = int(found[1]), json.loads(body)
        with self._lock:
            self.requests[seed] += 1
            rng = random.Random(f"{seed}/{self.requests[seed]}")
        if asked.get("background"):
            return self._maybe_broken(
                rng, _named(seed, response(asked["model"], "default", "queued"))
            )
        tier = {"flex": "flex"}.get(asked.get("service_tier"), "default")
        is_chat, content = path.endswith("/chat/completions"), Any
        if asked.get("stream"):
            content = (chat_events if is_chat else response_events)(asked["model"], tier)
            made = Reply(200, sse(content) + b"data: [DONE]\n\n", EVENTS)
        else:
            content = (chat if is_chat else response)(asked["model"], tier)
            made = Reply(200, json.dumps(content).encode(), JSON)
        if rng.random() < self._broken:
            made.break_one_thing(rng, content)
        with self._lock:
            self.whole[seed] += made.whole
        return made

    def poll(self, path: str) -> Reply:
        """The answer to a GET of a background response, which has ended at the second."""
        found = re.fullmatch(r"/v1/responses/resp_(\d+)", path)
        if found is None:
            return Reply(404, b'{"error": {"message": "No such response."}}', JSON)
        seed = int(found[1])
        with self._lock:
            self.polls[seed] += 1
            rng = random.Random(f"{seed}/poll/{self.polls[seed]}")
        ended = self.polls[seed] > 1
        content = response("o3", "default", "completed" if ended else "in_progress")
        made = self._maybe_broken(rng, _named(seed, content))
        with self._lock:
            self.whole[seed] += made.whole and ended
        return made

    def _maybe_broken(self, rng: random.Random, content: dict[str, Any]) -> Reply:
        made = Reply(200, json.dumps(content).encode(), JSON)
        if rng.random() < self._broken / 2:
            made.break_one_thing(rng, content)
        return made


def _named(seed: int, content: dict[str, Any]) -> dict[str, Any]:
    return {**content, "id": f"resp_{seed}"}


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    # Of 500 connections at once, the five of the default get in, and the kernel repeats the others
    # for minutes; one that it gives up is silent for as long as the call may take.
    request_queue_size = 1024


@contextmanager
def hostile(server: HostileServer) -> Iterator[str]:
    """The base URL of the server."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            self._send(server.reply(self.path, body))

        def do_GET(self) -> None:
            self._send(server.poll(self.path))

        def _send(self, made: Reply) -> None:
            self.send_response(made.status)
            if made.content_type:
                self.send_header("content-type", made.content_type)
            for name, value in made.headers.items():
                self.send_header(name, value)
            empty = made.status == 204
            if not empty:
                self.send_header("content-length", str(made.promised or len(made.body)))
            self.end_headers()
            if not empty:
                self.wfile.write(made.body)
            self.close_connection = made.promised is not None

        def log_message(self, *_: Any) -> None:
            """Nothing is logged."""

    listener = _Listener(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.server_port}/v1"
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()
