"""One thread, one event loop, one port of the loopback: the application served."""

from __future__ import annotations

import asyncio
import socket
import threading

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from flextier.sim.api.app import App
from flextier.sim.base.exchange import AS_PROXY, TRANSPORT

HOST = "127.0.0.1"

# Longer than any client keeps an idle connection, so that none is closed under a request.
KEEP_ALIVE = 600


class _Protocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with the transport in the scope, which some faults need, and whether
    the request is one to a proxy: it names its host in the request line."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {TRANSPORT: self.transport}  # type: ignore[dict-item]

    def on_headers_complete(self) -> None:
        self.scope["extensions"][AS_PROXY] = b"://" in self.url  # type: ignore[assignment]
        super().on_headers_complete()


class Server:
    """uvicorn's protocol on an event loop of our own, which can be stopped at once.

    Args:
        app: What is served.
        port: The port of the loopback; 0: any free one.

    Raises:
        OSError: The port cannot be used.
    """

    def __init__(self, app: App, port: int) -> None:
        self._app = app
        self._config = uvicorn.Config(
            app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE,
        )
        self._config.load()
        self._state = ServerState()
        self._socket = _listening_socket(port)
        self.port: int = self._socket.getsockname()[1]
        self._loop = _event_loop()
        self._stopping = asyncio.Event()
        self._serving = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flextier-sim", daemon=True)

    def start(self) -> None:
        """Start the thread; returns when requests are accepted."""
        self._thread.start()
        self._serving.wait()
        if not self._thread.is_alive():
            raise RuntimeError("the simulator's thread ended before it served")

    def stop(self) -> None:
        """Drop every connection, and wait until the thread has ended."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def connections(self) -> int:
        """Open client connections."""
        return len(self._state.connections)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._serving.set()
            self._socket.close()
            self._loop.close()

    async def _serve(self) -> None:
        server = await self._loop.create_server(self._protocol, sock=self._socket)
        self._serving.set()
        await self._stopping.wait()
        server.close()
        # Every pause of the app ends with its connection, so the tasks end by themselves.
        while self._state.tasks or self._state.connections:
            for protocol in list(self._state.connections):
                protocol.transport.abort()
            await asyncio.sleep(0)
        await self._app.close()
        await server.wait_closed()

    def _protocol(self) -> _Protocol:
        return _Protocol(config=self._config, server_state=self._state, app_state={})


def _event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # there is none for Windows
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _listening_socket(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(2048)
    except (OSError, OverflowError) as error:
        listener.close()
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise OSError(
            f"port {port} of {HOST} cannot be used ({why}): choose another with port= (--port); 0 "
            "is any free one"
        ) from error
    return listener
