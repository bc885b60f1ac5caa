"""Sends the answer of a call to one connection; a stream that waits is kept alive by comments."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from flextier.serve.answer import Headers, KeptAnswer, error_event
from flextier.serve.running_call import RunningCall

QUIET = 15.0
"""Seconds without a byte, after which a stream gets a comment: proxies close silent connections."""
_COMMENT = b": waiting\n\n"
_EVENTS: Headers = (
    ("content-type", "text/event-stream; charset=utf-8"),
    ("cache-control", "no-store"),
    ("x-accel-buffering", "no"),  # nginx would hold the comments back
)


class AnswerResponse(Response):
    """The answer of a call. The call is cancelled if its caller leaves before the end.

    Args:
        call: the call.
        quiet: seconds before a waiting stream begins with status 200, and between its comments.
            A failure within them keeps its status; a later one is an event.
    """

    def __init__(self, call: RunningCall, quiet: float = QUIET) -> None:
        self._call = call
        self._quiet = quiet

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._call.reading() as answer:
            left = asyncio.ensure_future(_disconnected(receive))
            sent = asyncio.ensure_future(self._send(answer, send))
            try:
                await asyncio.wait({left, sent}, return_when=asyncio.FIRST_COMPLETED)
                if sent.done():
                    sent.result()
                    self._call.read_to_end()
            finally:
                left.cancel()
                sent.cancel()

    async def _send(self, answer: KeptAnswer, send: Send) -> None:
        if self._call.stream:
            await self._send_stream(answer, send)
            return
        while not answer.complete:
            await answer.changed()
        assert answer.head is not None
        body = b"".join(answer.chunks)
        length = ("content-length", str(len(body)))
        await start(send, answer.head.status, (*answer.head.headers, length))
        await write(send, body)
        await write(send, b"", last=True)  # once nearly all is on its way: read_to_end() follows

    async def _send_stream(self, answer: KeptAnswer, send: Send) -> None:
        loop = asyncio.get_running_loop()
        begins_at = loop.time() + self._quiet
        while answer.head is None and (left := begins_at - loop.time()) > 0:
            await answer.changed(left)
        if (head := answer.head) is None:
            await start(send, 200, (*_EVENTS, *self._call.headers))
            await write(send, _COMMENT)
        else:
            await start(send, head.status, head.headers)
        await self._send_events(answer, send, is_early=head is None)

    async def _send_events(self, answer: KeptAnswer, send: Send, *, is_early: bool) -> None:
        """Send the chunks; comments go between events only."""
        sent, last = 0, b"\n\n"
        while True:
            while sent < len(answer.chunks):
                data = answer.chunks[sent]
                if is_early and not sent and answer.head is not None and answer.head.status >= 400:
                    data = error_event(answer.head.status, data)
                await write(send, data)
                sent, last = sent + 1, (last + data)[-4:]
            if answer.complete:
                break
            is_between = last.endswith((b"\n\n", b"\r\n\r\n"))
            if not await answer.changed(self._quiet) and is_between:
                await write(send, _COMMENT)
        is_stream = is_early or (answer.head is not None and answer.head.status < 400)
        await write(send, self._call.report_comment() if is_stream else b"", last=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def start(send: Send, status: int, headers: Headers) -> None:
    """Send the head of a response."""
    lines = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": lines})


async def write(send: Send, data: bytes, *, last: bool = False) -> None:
    """Send a part of its body."""
    message: dict[str, Any] = {"type": "http.response.body", "body": data, "more_body": not last}
    await send(message)
