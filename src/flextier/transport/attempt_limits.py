"""What our HTTP clients do for one attempt. Its limits: the time of all its socket operations taken
together, and the bytes of its response, unpacked: a small body may unpack to gigabytes."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import anyio
import openai

from flextier._openai.http_library import ResponseTooLarge, http, httpcore_error
from flextier._openai.request_with_tier import MAX_BYTES
from flextier._utils.wakeup import running_loop

_Limit = tuple[float, Callable[[], float] | None]
_NONE: _Limit = (math.inf, None)
_LIMIT: ContextVar[_Limit] = ContextVar("flextier_attempt_limit", default=_NONE)
"""When the attempt of this thread must have ended, and its ``stalls_in``."""


class time_limit:
    """End every socket operation of this thread within ``seconds``, all of them taken together.

    httpx's own timeouts apply to one read each, so a body that trickles in could outlast them.
    Applies to our sync HTTP client only (``transport/http_clients.py``). ``stalls_in`` is called
    before each read, and again after as many seconds of silence as it returns; 0 ends the read as
    if its time were up.
    """

    __slots__ = ("_seconds", "_stalls_in", "_token")

    def __init__(self, seconds: float, stalls_in: Callable[[], float] | None = None) -> None:
        self._seconds = seconds
        self._stalls_in = stalls_in

    def __enter__(self) -> None:
        self._token = _LIMIT.set((time.monotonic() + self._seconds, self._stalls_in))

    def __exit__(self, *_: object) -> None:
        _LIMIT.reset(self._token)


class async_time_limit:
    """End the async code inside after ``seconds``, or when it has stalled: an ``APITimeoutError``.

    ``stalls_in`` is as for :class:`time_limit`. It is not called under trio, which has no such
    timer. ``request`` returns a request object for the error.
    """

    __slots__ = ("_request", "_scope", "_seconds", "_stalls_in", "_timer")

    def __init__(
        self, seconds: float, stalls_in: Callable[[], float] | None, request: Callable[[], Any]
    ) -> None:
        self._seconds = seconds
        self._stalls_in = stalls_in
        self._request = request

    def __enter__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None
        self._scope = anyio.move_on_after(self._seconds)
        self._scope.__enter__()
        if self._stalls_in is not None:
            self._check_in(self._stalls_in(), self._stalls_in)

    def _check_in(self, seconds: float, stalls_in: Callable[[], float]) -> None:
        if seconds < math.inf and (loop := running_loop()) is not None:
            self._timer = loop.call_later(seconds, self._check, stalls_in)

    def _check(self, stalls_in: Callable[[], float]) -> None:
        seconds = stalls_in()
        if seconds > 0:
            self._check_in(seconds, stalls_in)
        else:
            self._scope.cancel()

    def __exit__(self, *exception: Any) -> bool | None:
        if self._timer is not None:
            self._timer.cancel()
        swallowed = self._scope.__exit__(*exception)
        if self._scope.cancelled_caught:
            raise openai.APITimeoutError(request=self._request())
        return swallowed


def clipped_timeout(timeout: float | None, too_late: str) -> float | None:
    """``timeout``, or the time left of the attempt if that is less; an error if none is."""
    until, _ = _LIMIT.get()
    if until == math.inf:
        return timeout
    left = until - time.monotonic()
    if left <= 0:
        raise httpcore_error(too_late)("the attempt has no time left")
    return left if timeout is None else min(timeout, left)


class TimeLimitedStream:
    """httpcore's network stream, with timeouts clipped to the attempt's limit.

    The head of a POST request is sent together with the body behind it: in one packet, and with
    one system call.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._head = b""

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._head:
            self.write(b"", timeout)
        _, stalls_in = _LIMIT.get()
        while True:
            left = clipped_timeout(timeout, "ReadTimeout")
            seconds = math.inf if stalls_in is None else stalls_in()
            if seconds <= 0:
                raise httpcore_error("ReadTimeout")("the attempt has stalled")
            last = stalls_in is None or (left is not None and left <= seconds)
            try:
                data: bytes = self._stream.read(max_bytes, timeout=left if last else seconds)
            except httpcore_error("ReadTimeout"):
                if last:
                    raise
            else:
                return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if buffer.startswith(b"POST ") and buffer.endswith(b"\r\n\r\n"):
            self._head += buffer
            return
        if self._head:
            buffer, self._head = self._head + buffer, b""
        self._stream.write(buffer, timeout=clipped_timeout(timeout, "WriteTimeout"))

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> TimeLimitedStream:
        timeout = clipped_timeout(timeout, "ConnectTimeout")
        return TimeLimitedStream(self._stream.start_tls(ssl_context, server_hostname, timeout))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _LimitedDecoder:
    """httpx's decoder of a response, which counts what it returns."""

    def __init__(self, decoder: Any, limit: int) -> None:
        self._decoder = decoder
        self._limit = limit
        self._count = 0

    def decode(self, data: bytes) -> Any:
        return self._counted(self._decoder.decode(data))

    def flush(self) -> Any:
        return self._counted(self._decoder.flush())

    def _counted(self, data: Any) -> Any:
        if not isinstance(data, bytes):  # httpx2 returns an iterator
            return map(self._counted, data)
        self._count += len(data)
        if self._count > self._limit:
            raise ResponseTooLarge(
                f"the response has more than {self._limit:,} bytes: raise "
                "FlexPolicy.max_response_bytes (FLEXTIER_MAX_RESPONSE_BYTES) if it may"
            )
        return data


def limit_response(response: Any) -> None:
    """Limit the bytes of a response where its request says so: an event hook of HTTP clients."""
    limit = response.request.extensions.get(MAX_BYTES)
    if limit is not None:
        response._decoder = _LimitedDecoder(response._get_content_decoder(), limit)


async def alimit_response(response: Any) -> None:
    """The async form of :func:`limit_response`."""
    limit_response(response)


class Cookies(http.Cookies):  # type: ignore[misc]  # httpx or httpx2
    """httpx's, which copies the headers of every request and response, also without cookies."""

    def extract_cookies(self, response: Any) -> None:
        """Keep the cookies that a response sets."""
        if "Set-Cookie" in response.headers:
            super().extract_cookies(response)
