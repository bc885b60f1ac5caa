"""One way to call either endpoint of a simulator, sync or async, with the real SDK."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import openai

from flextier.sim import Fault, Simulator

try:
    from httpx import TransportError
except ImportError:  # openai 3 brings httpx2 instead
    LOST: tuple[type[Exception], ...] = (openai.APIConnectionError,)
else:
    # openai 2 lets the transport's own errors through once a stream has begun.
    LOST = (openai.APIConnectionError, TransportError)

MODEL = "o3"
# Gives up on silence soon, but not on connecting.
SOON = openai.Timeout(None, read=0.3)
QUESTION = "Where is the cat? It was here."


@dataclass(frozen=True)
class Caller:
    """Calls that do not retry, with a client that is closed after each."""

    base_url: str

    path = ""

    def settings(self) -> dict[str, Any]:
        return {"base_url": self.base_url, "api_key": "k", "max_retries": 0, "timeout": 5}

    def plain(self, **body: Any) -> Any:
        """The answer, as the SDK's object."""
        raise NotImplementedError

    def stream(self, **body: Any) -> list[Any]:
        """The stream's events; what it raises has them as ``.events``."""
        raise NotImplementedError

    def body(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"model": MODEL, **body}


class _Chat(Caller):
    path = "/v1/chat/completions"

    def body(self, body: dict[str, Any]) -> dict[str, Any]:
        asked = body.pop("question", QUESTION)
        return super().body({"messages": [{"role": "user", "content": asked}], **body})

    def create(self, client: Any) -> Any:
        return client.chat.completions.create

    def text(self, answer: Any) -> str:
        return str(answer.choices[0].message.content)

    def streamed(self, events: list[Any]) -> str:
        return "".join(c.delta.content or "" for event in events for c in event.choices)


class _Responses(Caller):
    path = "/v1/responses"

    def body(self, body: dict[str, Any]) -> dict[str, Any]:
        return super().body({"input": body.pop("question", QUESTION), **body})

    def create(self, client: Any) -> Any:
        return client.responses.create

    def text(self, answer: Any) -> str:
        return str(answer.output_text)

    def streamed(self, events: list[Any]) -> str:
        return "".join(e.delta for e in events if e.type == "response.output_text.delta")


class _Sync:
    def plain(self: Any, **body: Any) -> Any:
        with openai.OpenAI(**self.settings()) as client:
            return self.create(client)(**self.body(body))

    def stream(self: Any, **body: Any) -> list[Any]:
        events: list[Any] = []
        with openai.OpenAI(**self.settings()) as client:
            try:
                with self.create(client)(**self.body(body), stream=True) as stream:
                    events.extend(stream)
            except Exception as error:
                error.events = events  # type: ignore[attr-defined]
                raise
        return events


class _Async:
    def plain(self: Any, **body: Any) -> Any:
        async def run() -> Any:
            async with openai.AsyncOpenAI(**self.settings()) as client:
                return await self.create(client)(**self.body(body))

        return asyncio.run(run())

    def stream(self: Any, **body: Any) -> list[Any]:
        events: list[Any] = []

        async def run() -> None:
            async with openai.AsyncOpenAI(**self.settings()) as client:
                stream = await self.create(client)(**self.body(body), stream=True)
                async with stream:
                    async for event in stream:
                        events.append(event)  # noqa: PERF401 - kept when the stream breaks

        try:
            asyncio.run(run())
        except Exception as error:
            error.events = events  # type: ignore[attr-defined]
            raise
        return events


class Chat(_Sync, _Chat):
    """Chat Completions, sync."""


class AsyncChat(_Async, _Chat):
    """Chat Completions, async."""


class Responses(_Sync, _Responses):
    """Responses, sync."""


class AsyncResponses(_Async, _Responses):
    """Responses, async."""


CALLERS = (Chat, AsyncChat, Responses, AsyncResponses)


@dataclass(frozen=True)
class Raw:
    """A raw HTTP response."""

    status: int
    headers: dict[str, str]
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)


def raw(url: str, method: str, path: str, body: Any = None, **headers: str) -> Raw:
    """One request without an SDK; ``body`` is sent as JSON, unless it is bytes."""
    connection = _connect(url)
    sent = {"authorization": "Bearer k", "content-type": "application/json", **headers}
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    try:
        connection.request(method, path, data, {k: v for k, v in sent.items() if v})
        response = connection.getresponse()
        names = {name.lower(): value for name, value in response.getheaders()}
        return Raw(response.status, names, response.read())
    finally:
        connection.close()


@contextmanager
def stalled(sim: Simulator, caller: Caller, **body: Any) -> Iterator[None]:
    """Keep a request unanswered while the block runs; its client leaves at the end of the block."""
    sim.script(Fault.stall())
    connection = _connect(sim.url)
    sent = {"authorization": "Bearer k", "content-type": "application/json"}
    connection.request("POST", caller.path, json.dumps(caller.body(body)), sent)
    try:
        assert eventually(lambda: [one.outcome for one in sim.requests] == ["stalled"])
        yield
    finally:
        connection.close()
    assert eventually(lambda: sim.in_flight == 0)


def _connect(url: str) -> http.client.HTTPConnection:
    where = urlsplit(url)
    return http.client.HTTPConnection(str(where.hostname), where.port)


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether something becomes true; the server notices a lost client a moment later."""
    end = time.monotonic() + 300.0
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True
