"""HTTP clients that fit flex: TCP keep-alive, a hard limit per attempt, one pool per event loop.

A flex answer can take a quarter of an hour of silence. NAT gateways drop idle connections long
before that (AWS after about 350 s, Google Cloud after about 120 s), and the call then hangs
although the server has finished: so every socket sends keep-alive probes.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextvars import ContextVar
from functools import partial
from typing import Any

import openai

from flextier._sdk import core_error, http

SocketOption = tuple[int, int, int]

_IDLE, _INTERVAL, _PROBES = 60, 15, 4


def keepalive_options() -> tuple[SocketOption, ...]:
    """Socket options: a probe after 60 s of silence, then every 15 s; four lost ones end it."""
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    # macOS calls the idle time TCP_KEEPALIVE; what a platform lacks keeps the system's value.
    idle = "TCP_KEEPALIVE" if sys.platform == "darwin" else "TCP_KEEPIDLE"
    for name, value in ((idle, _IDLE), ("TCP_KEEPINTVL", _INTERVAL), ("TCP_KEEPCNT", _PROBES)):
        if hasattr(socket, name):
            options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    return tuple(options)


def sync_http_client(*, socket_options: Iterable[SocketOption] | None = None, **kwargs: Any) -> Any:
    """An ``httpx.Client`` (``httpx2.Client`` under openai 3) with the SDK's defaults.

    Args:
        socket_options: set on every socket; None: :func:`keepalive_options`, (): none.
        **kwargs: as for ``openai.DefaultHttpxClient``. Proxies of the environment are honoured.
    """
    return _SyncClient(_options(socket_options), **kwargs)


def async_http_client(
    *, socket_options: Iterable[SocketOption] | None = None, **kwargs: Any
) -> Any:
    """The async twin of :func:`sync_http_client`.

    It may be used under several event loops: each has its own connections, which are closed with
    the loop.
    """
    return _AsyncClient(_options(socket_options), **kwargs)


def _options(given: Iterable[SocketOption] | None) -> tuple[SocketOption, ...]:
    return keepalive_options() if given is None else tuple(given)


# --- the limit of an attempt ------------------------------------------------------------------

_UNTIL: ContextVar[float | None] = ContextVar("flextier_attempt_until", default=None)


class time_limit:
    """End every socket operation of this thread within ``seconds``, all of them taken together.

    httpx's own timeouts are for one read each, so a body that trickles in could outlast them.
    Holds for the clients of this module only, and only for sync ones: async code cancels.
    """

    __slots__ = ("_seconds", "_token")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        self._token = _UNTIL.set(time.monotonic() + self._seconds)

    def __exit__(self, *_: object) -> None:
        _UNTIL.reset(self._token)


def _clipped(timeout: float | None, too_late: str) -> float | None:
    """``timeout``, or what is left of the attempt if that is less; an error if nothing is."""
    until = _UNTIL.get()
    if until is None:
        return timeout
    left = until - time.monotonic()
    if left <= 0:
        raise core_error(too_late)("the attempt is out of time")
    return left if timeout is None else min(timeout, left)


class _LimitedStream:
    """httpcore's network stream, with timeouts clipped to the attempt's limit."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data: bytes = self._stream.read(max_bytes, timeout=_clipped(timeout, "ReadTimeout"))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout=_clipped(timeout, "WriteTimeout"))

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> _LimitedStream:
        timeout = _clipped(timeout, "ConnectTimeout")
        return _LimitedStream(self._stream.start_tls(ssl_context, server_hostname, timeout))

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _SyncBackend:
    """httpcore's network backend, with socket options and limited streams.

    A backend and not the transport's ``socket_options``, which httpcore drops behind proxies.
    """

    def __init__(self, backend: Any, options: tuple[SocketOption, ...]) -> None:
        self._backend = backend
        self._options = options

    def connect_tcp(self, host: str, port: int, **kwargs: Any) -> Any:
        kwargs["socket_options"] = (*self._options, *(kwargs.get("socket_options") or ()))
        kwargs["timeout"] = _clipped(kwargs.get("timeout"), "ConnectTimeout")
        return _LimitedStream(self._backend.connect_tcp(host, port, **kwargs))

    def connect_unix_socket(self, path: str, **kwargs: Any) -> Any:
        return _LimitedStream(self._backend.connect_unix_socket(path, **kwargs))

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)


class _AsyncBackend:
    """The async twin, which need not limit: async code is cancelled instead."""

    def __init__(self, backend: Any, options: tuple[SocketOption, ...]) -> None:
        self._backend = backend
        self._options = options

    async def connect_tcp(self, host: str, port: int, **kwargs: Any) -> Any:
        kwargs["socket_options"] = (*self._options, *(kwargs.get("socket_options") or ()))
        return await self._backend.connect_tcp(host, port, **kwargs)

    async def connect_unix_socket(self, path: str, **kwargs: Any) -> Any:
        return await self._backend.connect_unix_socket(path, **kwargs)

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)


def _tuned(transport: Any, backend: Callable[[Any], Any]) -> Any:
    pool = transport._pool
    pool._network_backend = backend(pool._network_backend)
    return transport


class _SyncClient(openai.DefaultHttpxClient):
    def __init__(self, options: tuple[SocketOption, ...], **kwargs: Any) -> None:
        self._backend = partial(_SyncBackend, options=options)
        super().__init__(**kwargs)

    def _init_transport(self, **kwargs: Any) -> Any:  # type: ignore[override]  # by keyword only
        if kwargs.get("transport") is not None:
            return kwargs["transport"]
        return _tuned(super()._init_transport(**kwargs), self._backend)

    def _init_proxy_transport(self, proxy: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        return _tuned(super()._init_proxy_transport(proxy, **kwargs), self._backend)

    def __del__(self) -> None:
        # `_mounts` is the last that __init__ sets: absent where it failed.
        if hasattr(self, "_mounts") and not self.is_closed:
            self.close()


def ends_in_time(http_client: Any) -> bool:
    """Whether :func:`time_limit` holds for a sync HTTP client."""
    return isinstance(http_client, _SyncClient)


# --- one pool per event loop ------------------------------------------------------------------


async def _open_until_loop_ends(
    transport: Any, forget: Callable[[], object]
) -> AsyncGenerator[None, None]:
    """Closes ``transport`` when the loop shuts its async generators down, or when dropped."""
    try:
        yield
    finally:
        forget()
        await transport.aclose()


class _PerLoopTransport(http.AsyncBaseTransport):  # type: ignore[misc]  # httpx or httpx2
    """A transport for each event loop: a connection cannot be used under another than its own."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._open: dict[Any, tuple[Any, AsyncGenerator[None, None]]] = {}

    async def handle_async_request(self, request: Any) -> Any:
        loop = _running_loop()
        entry = self._open.get(loop)
        if entry is None:
            self._drop_closed()
            transport = self._make()
            lifetime = _open_until_loop_ends(transport, partial(self._open.pop, loop, None))
            entry = self._open[loop] = (transport, lifetime)
            await lifetime.__anext__()
        return await entry[0].handle_async_request(request)

    def _drop_closed(self) -> None:
        """Let go of loops that were closed without shutting their async generators down."""
        for loop in list(self._open):
            if getattr(loop, "is_closed", bool)():
                self._open.pop(loop, None)

    async def aclose(self) -> None:
        entry = self._open.pop(_running_loop(), None)
        if entry is not None:
            await entry[1].aclose()


def _running_loop() -> Any:
    """What stands for the running event loop: asyncio's itself, or trio's token."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return sys.modules["trio"].lowlevel.current_trio_token()


class _AsyncClient(openai.DefaultAsyncHttpxClient):
    def __init__(self, options: tuple[SocketOption, ...], **kwargs: Any) -> None:
        self._backend = partial(_AsyncBackend, options=options)
        super().__init__(**kwargs)

    def _init_transport(self, **kwargs: Any) -> Any:  # type: ignore[override]  # by keyword only
        return self._per_loop(super()._init_transport, kwargs)

    def _init_proxy_transport(self, proxy: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        return self._per_loop(partial(super()._init_proxy_transport, proxy), kwargs)

    def _per_loop(self, make: Callable[..., Any], kwargs: dict[str, Any]) -> Any:
        if kwargs.get("transport") is not None:
            return kwargs["transport"]
        # Reading the certificates takes longer than all else: once, not once a loop.
        kwargs["verify"] = http.create_ssl_context(
            verify=kwargs.pop("verify"), cert=kwargs.pop("cert"), trust_env=kwargs["trust_env"]
        )
        return _PerLoopTransport(lambda: _tuned(make(**kwargs), self._backend))
