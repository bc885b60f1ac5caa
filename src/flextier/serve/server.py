"""The gateway's server: uvicorn, on a port of this machine."""

from __future__ import annotations

import asyncio
import math
import socket
from functools import partial
from typing import Any

import uvicorn

from flextier.serve.app import Gateway
from flextier.serve.log import event
from flextier.serve.protocol import BoundedProtocol, Connections
from flextier.transport.http_clients import keepalive_options

UNREAD_SECONDS = 120
"""Seconds in which a caller must take some of an answer that is sent to it."""
_LAST_BYTES = 10
"""Seconds in which the callers of calls that were ended must take their errors."""
_MORE_CONNECTIONS = 10_000
"""Connections besides those of the calls."""


class GatewayServer(uvicorn.Server):
    """Serves a gateway until a signal, or until ``should_exit`` is set."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.url = ""
        """Where it serves, once the port is bound."""
        options = gateway.options
        self._bound = Connections(options.max_calls + _MORE_CONNECTIONS)
        http: Any = partial(BoundedProtocol, self._bound)
        super().__init__(
            uvicorn.Config(
                gateway.app(),
                host=options.host,
                port=options.port,
                http=http,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                timeout_keep_alive=75,
                backlog=16_384,  # where the system allows it: 10,000 calls may begin at once
                timeout_graceful_shutdown=math.ceil(options.drain) + _LAST_BYTES,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Log where it serves, once it does."""
        if (files := open_files()) is not None:  # a quarter of them is for the upstreams
            self._bound.most = min(self._bound.most, files * 3 // 4)
        await super().startup(sockets)
        upstreams = {one.name or "v1": one.base_url for one in self.gateway.options.upstreams}
        event("serving", url=self.url, upstreams=upstreams)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more calls, let those that run end for a while, and then end them."""
        self.gateway.drain()
        ending = asyncio.create_task(self._end_calls())
        await super().shutdown(sockets)
        ending.cancel()

    async def _end_calls(self) -> None:
        """End the calls once the time is up, and what else is under way when they are answered."""
        await asyncio.sleep(self.gateway.options.drain)
        await self.gateway.end_calls()
        while self.gateway.calls.readers:
            await asyncio.sleep(0.02)
        for connection in list(self.server_state.connections):
            if isinstance(connection, BoundedProtocol) and connection.is_under_way:
                connection.drop()

    def bind(self) -> None:
        """Bind the port.

        Raises:
            OSError: it cannot be used.
        """
        options = self.gateway.options
        family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for option in keepalive_options():  # connections inherit them
            self._socket.setsockopt(*option)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            unread = (socket.TCP_USER_TIMEOUT, UNREAD_SECONDS * 1000)
            self._socket.setsockopt(socket.IPPROTO_TCP, *unread)
        try:
            self._socket.bind((options.host, options.port))
        except (OSError, OverflowError) as error:
            self._socket.close()
            why = error.strerror if isinstance(error, OSError) else str(error)
            where = f"port {options.port} of {options.host}"
            raise OSError(f"{where} cannot be used ({why}): choose another (--port)") from error
        host = f"[{options.host}]" if ":" in options.host else options.host
        self.url = f"http://{host}:{self._socket.getsockname()[1]}"

    def run_bound(self) -> None:
        """Serve at the port that is bound."""
        self.run([self._socket])


def raise_open_files() -> None:
    """Let this process have as many connections as its hard limit allows: each is a file."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def open_files() -> int | None:
    """How many files this process may have open; None: no limit."""
    try:
        import resource
    except ImportError:
        return None
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if soft == resource.RLIM_INFINITY else soft
