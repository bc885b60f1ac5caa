"""aiohttp under the async client: many calls at once, for a fraction of the CPU that httpx takes.

Only the transport is aiohttp's. Requests, responses, redirects, decoding, the environment's proxies
and certificates stay httpx's, and so do the exceptions. The SDK has such a transport, too; this one
also sets socket options, limits the time of a write, sends large bodies in chunks, and
distinguishes a lost connection from one that failed, after which no call can be billed.

Imported by the first async request: aiohttp is an extra, and takes a while to import.
"""

from __future__ import annotations

import asyncio
import base64
import math
import socket
import weakref
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

import aiohttp
import anyio
from aiohttp import SocketFactoryType  # aiohttp 3.12; with an older one the client stays on httpx
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from flextier._openai.http_library import http

_CHUNK_SIZE = 256 * 1024
"""Bytes of a body that are written to the socket at once."""

_MIN_TIMEOUT = 0.001
"""Seconds, in place of 0, which aiohttp takes for no limit."""

_MAX_HEADER_SIZE = 64 * 1024
"""Bytes; aiohttp's own limit is 8 KB, and httpx has none."""

_CLOSE_ITERATIONS = 20
"""Iterations of the event loop that a connection may take to close; it needs four."""

# aiohttp's exceptions, and httpx's name for each; the first match counts.
_ERRORS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    (aiohttp.ConnectionTimeoutError, "ConnectTimeout"),
    (aiohttp.ServerTimeoutError, "ReadTimeout"),
    (aiohttp.ClientHttpProxyError, "ProxyError"),
    ((aiohttp.ClientConnectorError, aiohttp.ServerFingerprintMismatch), "ConnectError"),
    ((aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError), "UnsupportedProtocol"),
    (aiohttp.ServerDisconnectedError, "RemoteProtocolError"),
    ((aiohttp.ClientPayloadError, aiohttp.ClientResponseError), "RemoteProtocolError"),
    ((aiohttp.ClientError, OSError), "ReadError"),
    (ValueError, "LocalProtocolError"),
)


def _as_http_error(error: Exception) -> Exception:
    """The exception of httpx's for one of aiohttp's; others stay as they are."""
    for kinds, name in _ERRORS:
        if isinstance(error, kinds):
            http_error: Exception = getattr(http, name)(str(error) or type(error).__name__)
            return http_error
    return error


class AiohttpTransport(http.AsyncBaseTransport):  # type: ignore[misc]  # httpx or httpx2
    """The connections of one event loop. Created while the loop is running.

    ``limits`` and ``proxy`` are httpx's; all connections are kept until ``keepalive_expiry``, not
    only ``max_keepalive_connections``, unless that is 0.
    """

    def __init__(
        self, *, socket_options: Iterable[Any], ssl_context: Any, limits: Any, proxy: Any = None
    ) -> None:
        self._proxy = None if proxy is None else URL(str(proxy.url))
        self._proxy_headers = {} if proxy is None else _proxy_headers(proxy)
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        keepalive: dict[str, Any] = {"force_close": True}
        if limits.max_keepalive_connections != 0:
            expiry = limits.keepalive_expiry
            keepalive = {"keepalive_timeout": 1e9 if expiry is None else expiry}
        new_socket: SocketFactoryType = partial(_new_socket, tuple(socket_options), self._sockets)
        self._connector = _Connector(
            ssl=ssl_context,
            limit=limits.max_connections or 0,
            resolver=ThreadedResolver(),
            socket_factory=new_socket,
            **keepalive,
        )
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            request_class=_Request,
            skip_auto_headers=("accept", "accept-encoding", "content-type", "user-agent"),
            timeout=aiohttp.ClientTimeout(),
            max_line_size=_MAX_HEADER_SIZE,
            max_field_size=_MAX_HEADER_SIZE,
        )

    async def handle_async_request(self, request: Any) -> Any:
        body = _body_of(request)
        try:
            if not isinstance(body, _ChunkedBody):
                return await self._send(request, body)
            with body.limit:
                return await self._send(request, body.chunks())
        except Exception as error:
            raised = (isinstance(body, _ChunkedBody) and body.error) or _as_http_error(error)
            if raised is error:
                raise
            raise raised from error
        raise http.WriteTimeout("a write took too long")

    async def _send(self, request: Any, data: Any) -> Any:
        url = request.url.copy_with(userinfo=b"") if request.url.userinfo else request.url
        headers = [
            (name.decode("ascii"), value.decode("utf-8", "surrogateescape"))
            for name, value in request.headers.raw
            if name.lower() != b"transfer-encoding"  # aiohttp sets it
        ]
        tunnel = None
        if self._proxy is not None:
            if url.scheme == "https":
                tunnel = self._proxy_headers
            else:
                headers += self._proxy_headers.items()
        response = await self._session.request(
            request.method,
            URL(str(url), encoded=True),
            data=data,
            headers=headers,
            allow_redirects=False,
            timeout=_timeout(request.extensions.get("timeout", {})),
            proxy=self._proxy,
            proxy_headers=tunnel,
            server_hostname=request.extensions.get("sni_hostname"),
        )
        version = response.version or (1, 1)  # tools that fake aiohttp's responses set none
        return http.Response(
            response.status,
            headers=response.raw_headers,
            stream=_ResponseBody(response),
            extensions={
                "http_version": b"HTTP/%d.%d" % tuple(version),
                "reason_phrase": (response.reason or "").encode("ascii", "ignore"),
            },
        )

    @property
    def sockets(self) -> list[socket.socket]:
        """The sockets of all connections."""
        return list(self._sockets)

    async def aclose(self) -> None:
        self.abandon()
        await self._connector.close()
        # The connector drops connections before they are closed: TLS sends a closing message to
        # the server first, and the loop may end meanwhile.
        for sock in self.sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for _ in range(_CLOSE_ITERATIONS):
            if all(sock.fileno() < 0 for sock in self.sockets):
                break
            await asyncio.sleep(0)

    def abandon(self) -> None:
        """Take no more requests, without closing anything and without aiohttp's warning."""
        self._session.detach()


class _Connector(aiohttp.TCPConnector):
    """aiohttp's, without its log messages about event loops that ended with open connections.

    The sockets are closed with the loop's transports, as they are under httpx.
    """

    def __del__(self, *_: Any) -> None:
        pass


class _Request(aiohttp.ClientRequest):
    """aiohttp's, but a cancelled request stops writing, too.

    aiohttp would keep the connection open until the server has read everything written so far,
    which a server that hangs never does.
    """

    def send(self, conn: Any) -> Coroutine[Any, Any, aiohttp.ClientResponse]:
        conn.add_callback(partial(_stop_writing, conn.transport))
        return super().send(conn)


def _stop_writing(transport: Any) -> None:
    if transport is not None and transport.get_write_buffer_size():
        transport.abort()


def _new_socket(
    options: tuple[Any, ...], created: weakref.WeakSet[socket.socket], address: Any
) -> socket.socket:
    family, kind, protocol, _, _ = address
    new = socket.socket(family, kind, protocol)
    try:
        new.setblocking(False)
        for option in options:
            new.setsockopt(*option)
    except BaseException:
        new.close()
        raise
    created.add(new)
    return new


def _proxy_headers(proxy: Any) -> dict[str, str]:
    headers = dict(proxy.headers.items())
    if proxy.raw_auth is not None:
        secret = base64.b64encode(b":".join(proxy.raw_auth)).decode("ascii")
        headers["Proxy-Authorization"] = f"Basic {secret}"
    return headers


def _timeout(given: Any) -> aiohttp.ClientTimeout:
    """httpx's timeouts as aiohttp's, whose ``connect`` includes the wait for the pool."""
    connect, pool = given.get("connect"), given.get("pool")
    before = None if connect is None or pool is None else connect + pool
    return aiohttp.ClientTimeout(
        connect=_limit(before), sock_connect=_limit(connect), sock_read=_limit(given.get("read"))
    )


def _limit(seconds: float | None) -> float | None:
    return seconds if seconds is None else max(seconds, _MIN_TIMEOUT)


# --- bodies -----------------------------------------------------------------------------------


def _body_of(request: Any) -> bytes | _ChunkedBody | None:
    """The body to send: at once where it is small, else in chunks."""
    try:
        content: bytes = request.content
    except http.RequestNotRead:
        return _ChunkedBody(request.stream, request)
    return (
        _ChunkedBody(_sliced(content), request) if len(content) > _CHUNK_SIZE else content or None
    )


async def _sliced(content: bytes) -> AsyncIterator[memoryview]:
    """A large body in chunks: views, not copies."""
    view = memoryview(content)
    for start in range(0, len(view), _CHUNK_SIZE):
        yield view[start : start + _CHUNK_SIZE]


class _ChunkedBody:
    """A body that is sent in chunks, each within the write timeout."""

    def __init__(self, chunks: Any, request: Any) -> None:
        self._chunks = chunks
        timeout = request.extensions.get("timeout", {}).get("write")
        self._timeout = math.inf if timeout is None else timeout
        self.limit = anyio.CancelScope()
        """Ends the request when a write takes too long."""
        self.error: Exception | None = None
        """An error of the caller's iterator, not of the connection."""

    async def chunks(self) -> AsyncIterator[Any]:
        """The chunks, for aiohttp to write."""
        try:
            async for chunk in self._chunks:
                self.limit.deadline = anyio.current_time() + self._timeout
                yield chunk
                self.limit.deadline = math.inf
        except Exception as error:
            self.error = error
            raise


class _ResponseBody(http.AsyncByteStream):  # type: ignore[misc]  # httpx or httpx2
    """The body of a response, as it arrives."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for data in self._response.content.iter_any():
                yield data
        except Exception as error:
            raised = _as_http_error(error)
            if raised is error:
                raise
            raise raised from error

    async def aclose(self) -> None:
        # A body that was read to its end has returned its connection to the pool by now.
        self._response.close()
