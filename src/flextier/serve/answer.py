"""The answer of a call as it arrives, which any number of connections may read, from its start."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import NamedTuple

Headers = tuple[tuple[str, str], ...]

JSON: Headers = (("content-type", "application/json"),)


class Head(NamedTuple):
    """Status and headers of an answer."""

    status: int
    headers: Headers


class KeptAnswer:
    """The head and the chunks of an answer that have arrived so far. For one event loop."""

    def __init__(self) -> None:
        self.head: Head | None = None
        """None: it has not begun."""
        self.chunks: list[bytes] = []
        self.size = 0
        """Bytes of all chunks."""
        self.complete = False
        self._changed = asyncio.Event()

    def begin(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """Status and headers are known."""
        self.head = Head(status, tuple(headers))
        self.notify()

    def write(self, data: bytes) -> None:
        """Add a chunk."""
        if data:
            self.chunks.append(data)
            self.size += len(data)
            self.notify()

    def fail(self, status: int, headers: Headers, body: bytes) -> None:
        """End with an error: with its own status or, in a stream that has begun, as an event."""
        if self.head is None:
            self.begin(status, headers)
            self.write(body)
        else:
            self.write(error_event(status, body))

    def end(self) -> None:
        """No chunk follows."""
        self.complete = True
        self.notify()

    def notify(self) -> None:
        """Wake those who wait for a change."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def changed(self, seconds: float | None = None) -> bool:
        """Wait until the answer has changed; False: the seconds have passed before."""
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except (TimeoutError, asyncio.TimeoutError):
            return False
        return True


def error_event(status: int, body: bytes) -> bytes:
    """The event that ends a stream with an error, as the SDKs read it in both APIs."""
    try:
        error = json.loads(body)["error"]
        fields = {name: error.get(name) for name in ("code", "message", "param")}
    except (ValueError, LookupError, TypeError, AttributeError):
        fields = {"code": None, "message": body.decode("utf-8", "replace"), "param": None}
        error = dict(fields)
    event = {"type": "error", **fields, "status": status, "error": {**error, "status": status}}
    return f"event: error\ndata: {json.dumps(event)}\n\n".encode()


def error_body(message: str, code: str, kind: str = "flextier_gateway") -> bytes:
    """The JSON of an error that the gateway itself reports, in OpenAI's form."""
    error = {"message": message, "type": kind, "param": None, "code": code}
    return json.dumps({"error": error}).encode()
