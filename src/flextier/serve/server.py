"""The gateway's server: uvicorn, on a port of this machine."""

from __future__ import annotations

import asyncio
import math
import socket

import uvicorn

from flextier.serve.app import Gateway
from flextier.serve.log import event
from flextier.serve.protocol import BoundedProtocol

_LAST_BYTES = 10
"""Seconds in which the callers of calls that were ended must take their errors."""


class GatewayServer(uvicorn.Server):
    """Serves a gateway until a signal, or until ``should_exit`` is set."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.url = ""
        """Where it serves, once the port is bound."""
        options = gateway.options
        super().__init__(
            uvicorn.Config(
                gateway.app(),
                host=options.host,
                port=options.port,
                http=BoundedProtocol,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                timeout_keep_alive=75,
                limit_concurrency=options.max_calls + 10_000,
                backlog=2048,
                timeout_graceful_shutdown=math.ceil(options.drain) + _LAST_BYTES,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Log where it serves, once it does."""
        await super().startup(sockets)
        upstreams = {one.name or "v1": one.base_url for one in self.gateway.options.upstreams}
        event("serving", url=self.url, upstreams=upstreams)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more calls, let those that run end for a while, and then end them."""
        self.gateway.draining = True
        ending = asyncio.create_task(self._end_calls())
        await super().shutdown(sockets)
        ending.cancel()

    async def _end_calls(self) -> None:
        await asyncio.sleep(self.gateway.options.drain)
        await self.gateway.end_calls()

    def bind(self) -> None:
        """Bind the port.

        Raises:
            OSError: it cannot be used.
        """
        options = self.gateway.options
        family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
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
