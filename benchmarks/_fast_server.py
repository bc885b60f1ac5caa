"""The least of a chat completions server: it must not be what a benchmark of throughput measures.

It answers every request with the same chat completion after a moment, reads of it only how long it
is, and keeps connections alive. Run in a process of its own by :func:`fast_server`.
"""

from __future__ import annotations

import asyncio
import re
import sys
from contextlib import AbstractContextManager, suppress
from typing import Any

from _provider import PLAIN, served_by

LATENCY = 0.02
"""Seconds until an answer."""

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_benchmark\r\n"
    b"openai-processing-ms: 1\r\ncontent-length: %d\r\n\r\n" % len(PLAIN)
)


class _Connection(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._received, 0, end)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._received) < whole:
                return
            self._received = self._received[whole:]
            self._loop.call_later(LATENCY, self._transport.write, _HEAD + PLAIN)


def fast_server() -> AbstractContextManager[str]:
    """The base URL of a server in a process of its own."""
    return served_by(__file__)


async def _serve() -> None:
    """Serve until the parent closes its end of our standard input."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Connection, "127.0.0.1", backlog=4096)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


def main() -> None:
    """Serve, on uvloop if it is there."""
    with suppress(ImportError):
        import uvloop

        uvloop.install()
    asyncio.run(_serve())


if __name__ == "__main__":
    main()
