"""What our HTTP clients do for one attempt. Its limits: the time of all its socket operations taken
together, and the bytes of its response, unpacked: a small body may unpack to gigabytes."""

from __future__ import annotations

import asyncio
import math
import sys
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
_TIMER_SECONDS = 0.01
"""How much later a read may end than by a timer of its own."""


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


class TaskLimit:
    """Ends what the running task awaits inside, as ``asyncio.timeout()`` does.

    One that is entered again, as for each event of a stream, keeps its timer. ``stalls_in`` is as
    for :class:`time_limit`; it is not called under trio, where this is a cancel scope.
    """

    __slots__ = (
        "_at", "_is_over", "_loop", "_requests", "_scope", "_seconds", "_stalls_in", "_task",
        "_timer", "_until",
    )  # fmt: skip

    def __init__(self, stalls_in: Callable[[], float] | None = None) -> None:
        self._loop, self._stalls_in = running_loop(), stalls_in
        self._task: Any = None
        self._timer: asyncio.Handle | None = None
        self._is_over = False

    def within(self, seconds: float) -> TaskLimit:
        """The limit, to be entered for code that may take so long."""
        self._seconds = seconds
        return self

    def __enter__(self) -> None:
        if self._loop is None:
            self._scope = anyio.move_on_after(self._seconds)
            self._scope.__enter__()
            return
        self._task = asyncio.current_task(self._loop)
        self._requests = _cancel_requests(self._task)
        now = self._loop.time()
        self._until = now + self._seconds
        if self._stalls_in is not None:
            self._check_at(min(self._until, now + self._stalls_in()))
        elif self._timer is None or self._until < self._at - _TIMER_SECONDS:
            self._check_at(self._until)

    def _check_at(self, at: float) -> None:
        self.stop()
        if self._loop is not None and at < math.inf:
            self._at, self._timer = at, self._loop.call_at(at, self._check)

    def _check(self) -> None:
        self._timer = None
        if self._loop is None or self._task is None:
            return
        now = self._loop.time()
        left = self._until - now
        if left > 0 and self._stalls_in is not None:
            left = min(left, self._stalls_in())
        if left > 0:
            self._check_at(now + left)
        else:  # what has arrived by now is read first
            self._timer = self._loop.call_soon(self._end, self._until)

    def _end(self, until: float) -> None:
        self._timer = None
        if self._task is not None and self._until == until:
            self._is_over = _cancel_requests(self._task) == self._requests
            if self._is_over:
                self._task.cancel()

    def __exit__(self, *exception: Any) -> bool | None:
        """Whether the exception is the cancellation at the end of the time."""
        if self._loop is None:  # trio's scope also returns true where nothing was raised
            return bool(self._scope.__exit__(*exception)) and self._scope.cancelled_caught
        task, self._task = self._task, None
        is_over, self._is_over = self._is_over, False
        if is_over and sys.version_info >= (3, 11) and task.uncancel() > self._requests:
            return False  # someone else has cancelled the task, too
        return is_over and exception[0] is asyncio.CancelledError

    def stop(self) -> None:
        """Cancel the timer, which would else outlast the last use."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _cancel_requests(task: Any) -> int:
    return task.cancelling() if sys.version_info >= (3, 11) else 0


class async_time_limit(TaskLimit):
    """End the async code inside after ``seconds``, or when it has stalled: an ``APITimeoutError``.

    ``request`` returns a request object for the error.
    """

    __slots__ = ("_request",)

    def __init__(
        self, seconds: float, stalls_in: Callable[[], float] | None, request: Callable[[], Any]
    ) -> None:
        super().__init__(stalls_in)
        self._seconds = seconds
        self._request = request

    def __exit__(self, *exception: Any) -> None:
        is_over = super().__exit__(*exception)
        self.stop()
        if is_over:
            raise openai.APITimeoutError(request=self._request())


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
