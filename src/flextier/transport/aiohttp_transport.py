"""aiohttp under the async client: many calls at once, for a fraction of the CPU that httpx takes.

Only the transport is aiohttp's. Requests, responses, redirects, decoding, the environment's proxies
and certificates stay httpx's, and so do the exceptions. The SDK has such a transport, too; this one
also sets socket options, limits what a write may take, sends large bodies in pieces, and tells a
connection that was lost from one that was never there, on which hangs whether a call may be billed.

Imported with the first async request: aiohttp is an extra, and takes a while to import.
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

from flextier._openai.compat import http

_PIECE = 256 * 1024
"""Bytes of a body that are handed to the socket at once."""

_NO_TIME = 0.001
"""Seconds, in place of 0, which to aiohttp means that there is no limit."""

_LONGEST_HEADER = 64 * 1024
"""Bytes; aiohttp's own limit is 8 KB, which httpx's users have not known."""

_TURNS_TO_CLOSE = 20
"""Turns of the event loop that a connection may take to notice that it is over; it needs four."""

# By the first that fits: what aiohttp raises, and what httpx calls it.
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
            said: Exception = getattr(http, name)(str(error) or type(error).__name__)
            return said
    return error


class AiohttpTransport(http.AsyncBaseTransport):  # type: ignore[misc]  # httpx or httpx2
    """One event loop's connections. Made while the loop is running.

    Args:
        socket_options: set on every socket.
        ssl_context: for servers behind TLS.
        limits: httpx's; all connections are kept until ``keepalive_expiry``, not only
            ``max_keepalive_connections``, unless that is 0.
        proxy: httpx's; its URL begins with ``http://``.
    """

    def __init__(
        self, *, socket_options: Iterable[Any], ssl_context: Any, limits: Any, proxy: Any = None
    ) -> None:
        self._proxy = None if proxy is None else URL(str(proxy.url))
        self._proxy_headers = {} if proxy is None else _proxy_headers(proxy)
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._connector = _Connector(
            ssl=ssl_context,
            limit=limits.max_connections or 0,
            resolver=ThreadedResolver(),
            socket_factory=_socket_factory(tuple(socket_options), self._sockets),
            **_kept(limits),
        )
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            request_class=_Request,
            skip_auto_headers=("accept", "accept-encoding", "content-type", "user-agent"),
            timeout=aiohttp.ClientTimeout(),
            max_line_size=_LONGEST_HEADER,
            max_field_size=_LONGEST_HEADER,
        )

    async def handle_async_request(self, request: Any) -> Any:
        body = _body_of(request)
        try:
            if not isinstance(body, _Pieces):
                return await self._send(request, body)
            with body.limit:
                return await self._send(request, body.out())
        except Exception as error:
            raised = (isinstance(body, _Pieces) and body.error) or _as_http_error(error)
            if raised is error:
                raise
            raise raised from error
        raise http.WriteTimeout("a write took too long")

    async def _send(self, request: Any, data: Any) -> Any:
        url = request.url.copy_with(userinfo=b"") if request.url.userinfo else request.url
        headers = [
            (name.decode("ascii"), value.decode("utf-8", "surrogateescape"))
            for name, value in request.headers.raw
            if name.lower() != b"transfer-encoding"  # aiohttp's business
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
        assert response.version is not None
        return http.Response(
            response.status,
            headers=response.raw_headers,
            stream=_ResponseBody(response),
            extensions={
                "http_version": b"HTTP/%d.%d" % response.version,
                "reason_phrase": (response.reason or "").encode("ascii", "ignore"),
            },
        )

    async def aclose(self) -> None:
        self.abandon()
        await self._connector.close()
        # The connector forgets connections before they are closed: behind TLS they take leave of
        # the server first, and the loop may end meanwhile.
        for sock in list(self._sockets):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for _ in range(_TURNS_TO_CLOSE):
            if all(sock.fileno() < 0 for sock in list(self._sockets)):
                break
            await asyncio.sleep(0)

    def abandon(self) -> None:
        """No more requests: nothing is closed yet, and aiohttp does not complain that it is not."""
        self._session.detach()


class _Connector(aiohttp.TCPConnector):
    """aiohttp's, without its complaints in the log of whoever let a loop end in its own way.

    The sockets are closed with the loop's transports, as they are under httpx.
    """

    def __del__(self, *_: Any) -> None:
        pass


class _Request(aiohttp.ClientRequest):
    """aiohttp's, but one that is given up stops writing, too.

    aiohttp would leave the connection open until the server has read what was written so far,
    which one that hangs never does.
    """

    def send(self, conn: Any) -> Coroutine[Any, Any, aiohttp.ClientResponse]:
        conn.add_callback(partial(_stop_writing, conn.transport))
        return super().send(conn)


def _stop_writing(transport: Any) -> None:
    if transport is not None and transport.get_write_buffer_size():
        transport.abort()


def _socket_factory(
    options: tuple[Any, ...], made_so_far: weakref.WeakSet[socket.socket]
) -> SocketFactoryType:
    def new_socket(address: Any) -> socket.socket:
        family, kind, protocol, _, _ = address
        made = socket.socket(family, kind, protocol)
        try:
            made.setblocking(False)
            for option in options:
                made.setsockopt(*option)
        except BaseException:
            made.close()
            raise
        made_so_far.add(made)
        return made

    return new_socket


def _kept(limits: Any) -> dict[str, Any]:
    """How long connections are kept for the next request."""
    if limits.max_keepalive_connections == 0:
        return {"force_close": True}
    expiry = limits.keepalive_expiry
    return {"keepalive_timeout": 1e9 if expiry is None else expiry}


def _proxy_headers(proxy: Any) -> dict[str, str]:
    headers = dict(proxy.headers.items())
    if proxy.raw_auth is not None:
        secret = base64.b64encode(b":".join(proxy.raw_auth)).decode("ascii")
        headers["Proxy-Authorization"] = f"Basic {secret}"
    return headers


def _timeout(given: Any) -> aiohttp.ClientTimeout:
    """httpx's timeouts in aiohttp's words, whose ``connect`` is for all that precedes sending."""
    connect, pool = given.get("connect"), given.get("pool")
    before = None if connect is None or pool is None else connect + pool
    return aiohttp.ClientTimeout(
        connect=_limit(before), sock_connect=_limit(connect), sock_read=_limit(given.get("read"))
    )


def _limit(seconds: float | None) -> float | None:
    return seconds if seconds is None else max(seconds, _NO_TIME)


# --- bodies -----------------------------------------------------------------------------------


def _body_of(request: Any) -> bytes | _Pieces | None:
    """What to send: small bodies at once, others in pieces."""
    try:
        content: bytes = request.content
    except http.RequestNotRead:
        return _Pieces(request.stream, request)
    return _Pieces(_sliced(content), request) if len(content) > _PIECE else content or None


async def _sliced(content: bytes) -> AsyncIterator[memoryview]:
    """A large body in pieces: views, not copies."""
    view = memoryview(content)
    for start in range(0, len(view), _PIECE):
        yield view[start : start + _PIECE]


class _Pieces:
    """A body that goes out piece by piece, each within the write timeout."""

    def __init__(self, pieces: Any, request: Any) -> None:
        self._pieces = pieces
        timeout = request.extensions.get("timeout", {}).get("write")
        self._timeout = math.inf if timeout is None else timeout
        self.limit = anyio.CancelScope()
        """Ends the request when a write takes too long."""
        self.error: Exception | None = None
        """What went wrong in making the pieces: the caller's, not the connection's."""

    async def out(self) -> AsyncIterator[Any]:
        """The pieces, for aiohttp to write."""
        try:
            async for piece in self._pieces:
                self.limit.deadline = anyio.current_time() + self._timeout
                yield piece
                self.limit.deadline = math.inf
        except Exception as error:
            self.error = error
            raise


class _ResponseBody(http.AsyncByteStream):  # type: ignore[misc]  # httpx or httpx2
    """The body of an answer as it comes in."""

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
        # One that was read to its end has given its connection back by now.
        self._response.close()
