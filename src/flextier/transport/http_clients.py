"""HTTP clients for flex: TCP keep-alive, a hard limit per attempt, aiohttp for async calls.

A flex response can take a quarter of an hour of silence. NAT gateways drop idle connections long
before that (AWS after about 350 s, Google Cloud after about 120 s), and the call then hangs
although the server has finished: so every socket sends keep-alive probes.
"""

from __future__ import annotations

import socket
import ssl
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib.util import find_spec
from typing import Any

import openai
from typing_extensions import TypedDict, Unpack

from flextier._openai.http_library import http
from flextier._utils.extras import needs_extra
from flextier._utils.wakeup import running_loop
from flextier.transport.attempt_limits import (
    Cookies,
    TimeLimitedStream,
    alimit_response,
    clipped_timeout,
    limit_response,
)
from flextier.transport.forked_child import drop_in_child, replace_pool
from flextier.transport.per_loop_pool import PerLoopTransport
from flextier.variables import AIOHTTP, is_false, setting

SocketOption = tuple[int, int, int]

_IDLE, _INTERVAL, _PROBES = 60, 15, 4


def keepalive_options() -> tuple[SocketOption, ...]:
    """Options for TCP keep-alive: a probe after 60 s of silence, then every 15 s, four in all."""
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    # macOS names the idle time TCP_KEEPALIVE; options that a platform lacks keep its defaults.
    idle = "TCP_KEEPALIVE" if sys.platform == "darwin" else "TCP_KEEPIDLE"
    for name, value in ((idle, _IDLE), ("TCP_KEEPINTVL", _INTERVAL), ("TCP_KEEPCNT", _PROBES)):
        if hasattr(socket, name):
            options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    return tuple(options)


class HttpArguments(TypedDict, total=False):
    """The arguments of ``httpx.Client`` (``httpx2.Client`` under openai 3), for type checkers."""

    auth: Any
    params: Any
    headers: Any
    cookies: Any
    verify: ssl.SSLContext | str | bool
    cert: Any
    trust_env: bool
    http1: bool
    http2: bool
    proxy: Any
    mounts: Mapping[str, Any] | None
    timeout: Any
    follow_redirects: bool
    limits: Any
    max_redirects: int
    event_hooks: Mapping[str, list[Callable[..., Any]]] | None
    base_url: Any
    transport: Any
    default_encoding: str | Callable[[bytes], str]


def sync_http_client(
    *, socket_options: Iterable[SocketOption] | None = None, **kwargs: Unpack[HttpArguments]
) -> openai.DefaultHttpxClient:
    """An ``httpx.Client`` (``httpx2.Client`` under openai 3) with the SDK's defaults.

    Args:
        socket_options: set on every socket; None: :func:`keepalive_options`, (): none.
        **kwargs: as for ``openai.DefaultHttpxClient``. Proxies of the environment are honoured.
    """
    return _SyncClient(_options(socket_options), **kwargs)


def async_http_client(
    *,
    socket_options: Iterable[SocketOption] | None = None,
    aiohttp: bool | None = None,
    **kwargs: Unpack[HttpArguments],
) -> openai.DefaultAsyncHttpxClient:
    """The async version of :func:`sync_http_client`, over aiohttp where that is installed.

    It can be used under several event loops: each has its own connections, which are closed with
    the loop. Under trio, for HTTP/2, behind SOCKS or ``https://`` proxies, and while a tool such as
    vcrpy or respx replaces httpx's methods, it runs on httpx.

    Args:
        socket_options: as for :func:`sync_http_client`.
        aiohttp: False: httpx throughout. True: an error where aiohttp is missing. None: aiohttp if
            it is installed (extra ``aiohttp``) and ``FLEXTIER_AIOHTTP`` is not ``0``.
        **kwargs: as for ``openai.DefaultAsyncHttpxClient``.
    """
    return _AsyncClient(_options(socket_options), aiohttp, **kwargs)


def _options(given: Iterable[SocketOption] | None) -> tuple[SocketOption, ...]:
    return keepalive_options() if given is None else tuple(given)


class _Backend:
    """httpcore's network backend, with socket options: it drops the transport's behind proxies."""

    def __init__(self, backend: Any, options: tuple[SocketOption, ...]) -> None:
        self._backend = backend
        self._options = options

    def connect_tcp(self, host: str, port: int, **kwargs: Any) -> Any:
        kwargs["socket_options"] = (*self._options, *(kwargs.get("socket_options") or ()))
        return self._backend.connect_tcp(host, port, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


class _SyncBackend(_Backend):
    """With limits, too: async code is cancelled instead."""

    def connect_tcp(self, host: str, port: int, **kwargs: Any) -> Any:
        kwargs["timeout"] = clipped_timeout(kwargs.get("timeout"), "ConnectTimeout")
        return TimeLimitedStream(super().connect_tcp(host, port, **kwargs))

    def connect_unix_socket(self, path: str, **kwargs: Any) -> Any:
        return TimeLimitedStream(self._backend.connect_unix_socket(path, **kwargs))


def _with_backend(transport: Any, backend: Callable[[Any], Any]) -> Any:
    pool = transport._pool
    pool._network_backend = backend(pool._network_backend)
    return transport


class _SyncClient(openai.DefaultHttpxClient):
    enforces_time_limit = True
    """:class:`time_limit` applies to its requests."""

    def __init__(self, options: tuple[SocketOption, ...], **kwargs: Any) -> None:
        self._options = options
        self._settings = dict(kwargs)
        self._own_transports: list[Any] = []
        super().__init__(**kwargs)
        self._event_hooks["response"].insert(0, limit_response)
        self._cookies = Cookies(self._cookies)
        # Not __del__: the garbage collector may finalize the sockets of a cycle before this object.
        weakref.finalize(self, _close_all, self._own_transports)
        drop_in_child(self)

    def _init_transport(self, **kwargs: Any) -> Any:  # type: ignore[override]  # by keyword only
        if kwargs.get("transport") is not None:
            return kwargs["transport"]
        return self._own(super()._init_transport(**kwargs))

    def _init_proxy_transport(self, proxy: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        return self._own(super()._init_proxy_transport(proxy, **kwargs))

    def _own(self, transport: Any) -> Any:
        self._own_transports.append(transport)
        # The lock of httpx 1 is not reentrant: a thread that holds it would wait for itself if the
        # garbage collector closes a stream then that was dropped.
        transport._pool._optional_thread_lock = threading.RLock()
        return _with_backend(transport, partial(_SyncBackend, options=self._options))

    def drop_inherited(self) -> None:
        """Have no connections of the parent's, in a forked child."""
        for transport in self._own_transports:
            replace_pool(transport)


def _close_all(transports: list[Any]) -> None:
    for transport in transports:
        transport.close()


# --- the async client -------------------------------------------------------------------------


class _AsyncClient(openai.DefaultAsyncHttpxClient):
    def __init__(
        self, options: tuple[SocketOption, ...], aiohttp: bool | None, **kwargs: Any
    ) -> None:
        self._options = options
        self._settings = dict(kwargs)
        self._aiohttp = _aiohttp_enabled() if aiohttp is None else aiohttp
        if aiohttp:
            with needs_extra("aiohttp"):
                import flextier.transport.aiohttp_transport  # noqa: F401 - by now, not by the first request
        super().__init__(**kwargs)
        self._event_hooks["response"].insert(0, alimit_response)
        self._cookies = Cookies(self._cookies)

    def _init_transport(self, **kwargs: Any) -> Any:  # type: ignore[override]  # by keyword only
        return self._per_loop(super()._init_transport, None, kwargs)

    def _init_proxy_transport(self, proxy: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        return self._per_loop(partial(super()._init_proxy_transport, proxy), proxy, kwargs)

    def _per_loop(self, make: Callable[..., Any], proxy: Any, kwargs: dict[str, Any]) -> Any:
        if kwargs.get("transport") is not None:
            return kwargs["transport"]
        # Reading the certificates takes longest: once, not in each event loop.
        kwargs["verify"] = http.create_ssl_context(
            verify=kwargs.pop("verify"), cert=kwargs.pop("cert"), trust_env=kwargs["trust_env"]
        )
        options = self._options

        def over_httpx() -> Any:
            return _with_backend(make(**kwargs), partial(_Backend, options=options))

        if not (self._aiohttp and _aiohttp_supports(proxy, kwargs)):
            return PerLoopTransport(over_httpx)
        kwargs["verify"].set_alpn_protocols(["http/1.1"])  # as httpx has it
        over_aiohttp = partial(
            _over_aiohttp,
            socket_options=options,
            ssl_context=kwargs["verify"],
            limits=kwargs["limits"],
            proxy=proxy,
        )
        return PerLoopTransport(
            lambda: (over_aiohttp() if running_loop() else None) or over_httpx(),
            intercepted=PerLoopTransport(over_httpx),
        )


_COPIED_SETTINGS = frozenset({"cert", "follow_redirects", "limits", "proxy", "trust_env", "verify"})


def sync_client_like(http_client: Any) -> Any:
    """A sync HTTP client with the settings of one of ours, and its own connections.

    None: the client, its transport or its hooks are the caller's.
    """
    if not isinstance(http_client, (_SyncClient, _AsyncClient)):
        return None
    settings = {k: v for k, v in http_client._settings.items() if v is not None}
    if settings.keys() - _COPIED_SETTINGS - {"timeout", "base_url", "headers"}:
        return None
    return sync_http_client(
        socket_options=http_client._options,
        **{name: value for name, value in settings.items() if name in _COPIED_SETTINGS},
    )


def _aiohttp_enabled() -> bool:
    return not is_false(setting(AIOHTTP)) and find_spec("aiohttp") is not None


def _aiohttp_supports(proxy: Any, settings: dict[str, Any]) -> bool:
    """Whether aiohttp can send these requests: not HTTP/2, SOCKS, or TLS to the proxy itself."""
    if settings.get("http2") or not settings.get("http1", True):
        return False
    return proxy is None or (proxy.url.scheme == "http" and proxy.ssl_context is None)


def _over_aiohttp(**settings: Any) -> Any:
    """The transport over aiohttp; None where aiohttp is too old for it."""
    try:
        from flextier.transport.aiohttp_transport import AiohttpTransport
    except ImportError:
        return None
    return AiohttpTransport(**settings)
