"""The bytes of a stream, for callers who read them in place of its events (``iter_lines``)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

from flextier._openai.http_library import http


class _StreamBytes:
    """The bytes that have arrived for events, kept until the caller reads bytes, or more events.

    Reading the bytes reads the events behind them, too: so the stream is timed, checked and
    reported as usual. Replaces the response's ``iter_bytes`` or ``aiter_bytes``, which its other
    methods call; ``chunk_size`` is ignored.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._response = stream.response
        self._kept: list[bytes] = []
        self._is_kept = True
        self._without_usage = False
        self._rest = b""

    def opened(self, *, without_usage: bool) -> None:
        """The stream is open: bytes that arrive from now on are kept only if bytes are read."""
        self._is_kept = False
        self._without_usage = without_usage

    def _arrived(self, data: bytes) -> bytes:
        if self._is_kept:
            self._kept.append(data)
        else:
            self._kept.clear()
        return data

    def _begin(self) -> None:
        if not self._stream.is_untouched:
            raise http.StreamConsumed
        self._is_kept = True

    def _take(self, *, all_read: bool = False) -> bytes:
        data = self._rest + b"".join(self._kept)
        self._kept.clear()
        if self._without_usage:
            *events, self._rest = _END_OF_EVENT.split(data)
            # A chunk that has the usage of its stream, and nothing else, is left out.
            data = b"".join(x for x in events if not (_NO_CHOICES.search(x) and _USAGE.search(x)))
        return data + self._rest if all_read else data


# Not a part of text: quotation marks in it are escaped.
_END_OF_EVENT = re.compile(rb"(?<=\n\n)|(?<=\r\n\r\n)|(?<=\r\r)")
_NO_CHOICES = re.compile(rb'"choices"\s*:\s*(\[\s*\]|null)')
_USAGE = re.compile(rb'"usage"\s*:\s*\{')


class StreamBytes(_StreamBytes):
    """Lets the caller of a sync stream read its bytes. Made before the stream is opened."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._source = self._response.iter_bytes
        self._response.iter_bytes = self._read_by_stream

    def _read_by_stream(self) -> Iterator[bytes]:
        self._response.iter_bytes = self._read_by_caller
        for data in self._source():
            yield self._arrived(data)

    def _read_by_caller(self, chunk_size: int | None = None) -> Iterator[bytes]:
        self._begin()
        try:
            for _ in self._stream:
                if data := self._take():
                    yield data
        except Exception:
            yield self._take(all_read=True)
            raise
        yield self._take(all_read=True)


class AsyncStreamBytes(_StreamBytes):
    """The async version of :class:`StreamBytes`."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._source = self._response.aiter_bytes
        self._response.aiter_bytes = self._read_by_stream

    async def _read_by_stream(self) -> AsyncIterator[bytes]:
        self._response.aiter_bytes = self._read_by_caller
        async for data in self._source():
            yield self._arrived(data)

    async def _read_by_caller(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
        self._begin()
        try:
            async for _ in self._stream:
                if data := self._take():
                    yield data
        except Exception:
            yield self._take(all_read=True)
            raise
        yield self._take(all_read=True)
