"""The time limit of one attempt: all of its socket operations end within it, taken together."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from flextier._openai.compat import httpcore_error

_UNTIL: ContextVar[float | None] = ContextVar("flextier_attempt_until", default=None)
_STALLS_IN: ContextVar[Callable[[], float] | None] = ContextVar("flextier_stalls_in", default=None)


class time_limit:
    """End every socket operation of this thread within ``seconds``, all of them taken together.

    httpx's own timeouts are for one read each, so a body that trickles in could outlast them.
    Holds for the clients of this module only, and only for sync ones: async code cancels.

    Args:
        seconds: from now on.
        stalls_in: asked before each read, and again after so many seconds of silence as it says;
            0: the read ends as if its time were over.
    """

    __slots__ = ("_seconds", "_stalls_in", "_token", "_until")

    def __init__(self, seconds: float, stalls_in: Callable[[], float] | None = None) -> None:
        self._seconds = seconds
        self._stalls_in = stalls_in

    def __enter__(self) -> None:
        self._until = _UNTIL.set(time.monotonic() + self._seconds)
        self._token = _STALLS_IN.set(self._stalls_in)

    def __exit__(self, *_: object) -> None:
        _STALLS_IN.reset(self._token)
        _UNTIL.reset(self._until)


def clipped_timeout(timeout: float | None, too_late: str) -> float | None:
    """``timeout``, or what is left of the attempt if that is less; an error if nothing is."""
    until = _UNTIL.get()
    if until is None:
        return timeout
    left = until - time.monotonic()
    if left <= 0:
        raise httpcore_error(too_late)("the attempt is out of time")
    return left if timeout is None else min(timeout, left)


class TimeLimitedStream:
    """httpcore's network stream, with timeouts clipped to the attempt's limit."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        stalls_in = _STALLS_IN.get()
        if stalls_in is None:
            data: bytes = self._stream.read(
                max_bytes, timeout=clipped_timeout(timeout, "ReadTimeout")
            )
            return data
        return self._watched(max_bytes, timeout, stalls_in)

    def _watched(
        self, max_bytes: int, timeout: float | None, stalls_in: Callable[[], float]
    ) -> bytes:
        read_timeout = httpcore_error("ReadTimeout")
        while True:
            left = clipped_timeout(timeout, "ReadTimeout")
            seconds = stalls_in()
            if seconds <= 0:
                raise read_timeout("the attempt has stalled")
            last = left is not None and left <= seconds
            try:
                data: bytes = self._stream.read(max_bytes, timeout=left if last else seconds)
            except read_timeout:
                if last:
                    raise
            else:
                return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout=clipped_timeout(timeout, "WriteTimeout"))

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> TimeLimitedStream:
        timeout = clipped_timeout(timeout, "ConnectTimeout")
        return TimeLimitedStream(self._stream.start_tls(ssl_context, server_hostname, timeout))

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
