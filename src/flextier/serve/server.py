"""The gateway's server: uvicorn, on a port of this machine."""

from __future__ import annotations

import socket

import uvicorn

from flextier.serve.app import Gateway
from flextier.serve.protocol import BoundedProtocol


class GatewayServer(uvicorn.Server):
    """Serves a gateway until a signal, or until ``should_exit`` is set."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
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
                limit_concurrency=options.max_calls + 1000,
                backlog=2048,
            )
        )

    def bind(self) -> str:
        """Bind the port; returns the URL that will be served.

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
        return f"http://{host}:{self._socket.getsockname()[1]}"

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
