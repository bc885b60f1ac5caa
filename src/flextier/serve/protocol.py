"""uvicorn's HTTP protocol, with bounds on connections and on the requests that do not arrive."""

from __future__ import annotations

import asyncio
import re
from http import HTTPStatus
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from flextier.serve.access import MAX_HEADER_BYTES
from flextier.serve.error_answers import ErrorAnswer, refusal, too_busy

HEAD_SECONDS = 20.0
"""Seconds in which the head of a request must arrive."""
LINGER = 30.0
"""Seconds in which the rest of a request may arrive that has its answer already: its client would
see a reset in place of the answer if the connection were closed before."""

_UPGRADE = re.compile(rb"\r\nupgrade:[^\r\n]*", re.IGNORECASE)
"""An offer, as Java makes it, to go on in another protocol; the parser would skip the body."""


class Connections:
    """A bound on the connections, which those without a request cannot use up.

    Args:
        most: one more closes the one that has been without a whole request the longest.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.without_request: dict[BoundedProtocol, None] = {}
        """Those that are idle, or whose request has not arrived; the oldest first."""

    def make_room(self, count: int) -> bool:
        """Close connections while there are too many; False: all of them have a request."""
        while count > self.most and self.without_request:
            next(iter(self.without_request)).drop()
            count -= 1
        return count <= self.most


class BoundedProtocol(HttpToolsProtocol):
    """Closes connections whose requests do not begin, or do not end."""

    _head_bytes = 0
    _is_in_head = True
    _is_refused = False
    """Whether what arrives is not read any more."""
    _timer: asyncio.TimerHandle | None = None

    def __init__(self, bound: Connections, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self._bound = bound

    def connection_made(self, transport: Any) -> None:
        self._lingering = _LingeringTransport(transport, self)
        super().connection_made(cast("asyncio.Transport", self._lingering))
        has_room = self._bound.make_room(len(self.connections))
        self._bound.without_request[self] = None
        self._abort_after(HEAD_SECONDS)
        if not has_room:
            self._refuse(too_busy("there are too many connections"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._bound.without_request.pop(self, None)
        self._stop_timer()
        super().connection_lost(exc)

    def drop(self) -> None:
        """Close the connection now."""
        self.connections.discard(self)
        self._bound.without_request.pop(self, None)
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        if self._is_in_head or self.cycle is None or not self.cycle.more_body:
            head, end, rest = data.partition(b"\r\n\r\n")
            data = _UPGRADE.sub(b"", head) + end + rest
        super().data_received(data)
        if self._is_in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEADER_BYTES:
                self._refuse(
                    refusal(431, "too_large", "the headers are larger than the gateway takes")
                )

    def send_400_response(self, msg: str) -> None:
        self._refuse(refusal(400, "invalid_request", "this is no request of HTTP/1.1"))

    def _refuse(self, answer: ErrorAnswer) -> None:
        """Send an answer that no application has, and read nothing more."""
        self._is_refused = True
        self._abort_after(LINGER)
        if self.has_unanswered_request:
            if self.cycle.response_started:
                self.transport.abort()
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in answer.headers]
        lines += [f"content-length: {len(answer.body)}", "connection: close", "", ""]
        self.transport.write("\r\n".join(lines).encode("ascii") + answer.body)
        self.transport.write_eof()

    @property
    def has_unanswered_request(self) -> bool:
        """Whether a request has not got its whole answer."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def is_under_way(self) -> bool:
        """Whether a request has not arrived, or not got its answer."""
        return self.has_unanswered_request or self.has_unread_request

    @property
    def has_unread_request(self) -> bool:
        """Whether a request that has its answer has not arrived yet."""
        return self.cycle is not None and self.cycle.response_complete and self.cycle.more_body

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._bound.without_request.setdefault(self)
        self._head_bytes, self._is_in_head = 0, True
        self._abort_after(HEAD_SECONDS)

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if self.has_unanswered_request:
            self._bound.without_request.pop(self, None)
        else:
            self.cycle.more_body = False
            self._stop_timer()
            self._lingering.end()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.has_unread_request:
            self._abort_after(LINGER)
        if not self.has_unanswered_request:
            self._bound.without_request[self] = None

    def _abort_after(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None


class _LingeringTransport:
    """A transport that is closed once the request that was answered has arrived."""

    def __init__(self, transport: Any, protocol: BoundedProtocol) -> None:
        self._transport = transport
        self._protocol = protocol
        self._is_ending = False
        self.write = transport.write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def close(self) -> None:
        if self._protocol.has_unread_request and not self._transport.is_closing():
            self._is_ending = True
            self._transport.write_eof()
        else:
            self._transport.close()

    def end(self) -> None:
        """The request has arrived."""
        if self._is_ending:
            self._transport.close()
