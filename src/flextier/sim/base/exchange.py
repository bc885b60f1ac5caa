"""One HTTP exchange: the request as it came, and every way to answer it or not to."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from flextier.sim.base import api_errors
from flextier.sim.base.api_errors import ErrorReply, Rejected
from flextier.sim.base.request_log import RequestLog, SeenRequest
from flextier.sim.base.tokens import Tokens

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

#: Where the server leaves the connection's transport in the ASGI scope's extensions.
TRANSPORT = "flextier.transport"
AS_PROXY = "flextier.as_proxy"

JSON = "application/json"
CHUNK = 256 * 1024
EVENTS = "text/event-stream; charset=utf-8"

# SO_LINGER with a time of zero turns a close into a reset (RST); Windows has shorter numbers.
_RESET_ON_CLOSE = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


class ClientLeft(Exception):
    """The client closed the connection, or the server is being stopped."""


class Exchange:
    """A request and its response. Closes its entry in the accounts once, before its last byte.

    A client that has its answer can therefore rely on the accounts.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope.get("query_string", b"")
        self.headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        self.scope = scope
        request_id = f"req_{uuid4().hex}"
        self.seen = SeenRequest(self.method, self.path, self.headers, request_id=request_id)
        self.receive = receive
        self._send = send
        self._transport: asyncio.Transport = scope["extensions"][TRANSPORT]
        self.as_proxy: bool = scope["extensions"][AS_PROXY]
        self._clock = time.perf_counter()
        self._accounts: RequestLog | None = None
        self._route = self.path
        self._doom = ""
        self.limit_headers: Mapping[str, str] = {}
        """The rate limits, which every answer states."""

    # -- the books ------------------------------------------------------------------------

    def open(self, accounts: RequestLog, route: str) -> None:
        """Enter this exchange in the accounts; ``route`` is the path it is counted under."""
        self._accounts, self._route = accounts, route
        accounts.arrive(self.seen)

    def settle(self, outcome: str) -> None:
        """Close the entry; only the first call counts."""
        outcome = self._doom or outcome
        accounts, self._accounts = self._accounts, None
        if accounts is not None:
            self.seen.seconds = time.perf_counter() - self._clock
            accounts.settle(self.seen, outcome, self._route)

    def stalled(self, outcome: str) -> None:
        """Note that the exchange has fallen silent."""
        if self._accounts is not None:
            self._accounts.stall(self.seen, outcome)

    def warn(self, text: str) -> None:
        """Note something for the tester, unless the entry is closed."""
        if self._accounts is not None:
            self._accounts.warn(text)

    def bill(self, tier: str, tokens: Tokens) -> None:
        """Charge an answer, and close the entry as served."""
        self.seen.served_tier = tier
        if self._accounts is not None and not self._doom:
            self._accounts.bill(self.seen.model, tier, tokens, self.seen.line)
        self.settle("served")

    def break_off(self, outcome: str, alter: Callable[[Send], Send]) -> None:
        """Alter the response on its way, and close the entry as ``outcome``."""
        self._doom = outcome
        self._send = alter(self._send)

    # -- the request ----------------------------------------------------------------------

    async def body(self) -> bytes:
        """The whole request body.

        Raises:
            ClientLeft: The client left before it was complete.
        """
        parts: list[bytes] = []
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientLeft
            parts.append(message.get("body", b""))
            if not message.get("more_body"):
                return b"".join(parts)

    async def json(self) -> dict[str, Any]:
        """The request body as a JSON object.

        Raises:
            Rejected: It is none.
            ClientLeft: The client left before it was complete.
        """
        try:
            data = json.loads(await self.body())
        except ValueError as error:
            raise Rejected(api_errors.bad_json()) from error
        if not isinstance(data, dict):
            raise Rejected(api_errors.bad_json())
        return data

    async def pause(self, seconds: float | None) -> None:
        """Wait; None: until the client leaves.

        Raises:
            ClientLeft: The client left meanwhile.
        """
        if seconds == 0:
            return
        try:
            await asyncio.wait_for(self._client_leaves(), seconds)
        except asyncio.TimeoutError:
            return
        raise ClientLeft

    async def _client_leaves(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass

    # -- the response ---------------------------------------------------------------------

    async def start(
        self,
        status: int,
        content_type: str,
        length: int | None = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Send the status and the headers; no ``length``: the body comes in chunks."""
        self.seen.status = status
        spent = (time.perf_counter() - self._clock) * 1000
        lines = [
            (b"content-type", content_type.encode()),
            (b"x-request-id", self.seen.request_id.encode()),
            (b"openai-processing-ms", str(round(spent)).encode()),
            (b"x-flextier-simulated", b"true"),
        ]
        stated = {**self.limit_headers, **{name.lower(): value for name, value in headers}}
        lines += [(name.encode(), value.encode("latin-1")) for name, value in stated.items()]
        if length is not None:
            lines.append((b"content-length", str(length).encode()))
        await self._send({"type": "http.response.start", "status": status, "headers": lines})

    async def write(self, data: bytes) -> None:
        """Send a part of the body."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self, data: bytes = b"") -> None:
        """Send the last part of the body."""
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def reply(
        self, content: Mapping[str, Any], status: int = 200, headers: api_errors.Headers = ()
    ) -> None:
        """Send JSON, whole; settles as served if nothing was said before."""
        await self.reply_bytes(json.dumps(content).encode(), JSON, status, headers)

    async def reply_bytes(
        self, data: bytes, content_type: str, status: int = 200, headers: api_errors.Headers = ()
    ) -> None:
        """Send a body, whole; settles as served if nothing was said before."""
        await self.start(status, content_type, len(data), headers)
        self.settle("served")
        await self.finish(data)

    async def reply_file(self, path: Path, size: int, content_type: str) -> None:
        """Send a file in chunks; settles as served before the last of them."""
        with path.open("rb") as file:
            await self.start(200, content_type, size)
            while size > CHUNK:
                data = file.read(CHUNK)
                size -= len(data)
                await self.write(data)
            data = file.read(size)
        self.settle("served")
        await self.finish(data)

    async def fail(self, reply: ErrorReply) -> None:
        """Send an error."""
        self.settle(reply.outcome)
        await self.reply({"error": reply.error()}, reply.status, reply.headers)

    # -- the connection -------------------------------------------------------------------

    async def reset(self) -> None:
        """Reset the connection; what was not sent yet is lost."""
        connection = self._transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._transport.abort()
        await self._client_leaves()

    async def close(self) -> None:
        """Close the connection after what was sent."""
        self._transport.close()
        await self._client_leaves()
