"""Reads the frames of a call, which ``flextier/serve/call_frames.py`` writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple


class Frame(NamedTuple):
    """A frame: its kind, and its value, which of a part of the body is bytes."""

    kind: str
    value: Any


class BrokenFrames(Exception):
    """The bytes are no frames, or there are no more."""


class FrameReader:
    """Frames from the bytes of a response, which may be split anywhere."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._missing = 0
        """Bytes of the part of the body that has begun."""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete with ``data``.

        Raises:
            BrokenFrames: they are none, or there are no more.
        """
        if not data:
            raise BrokenFrames("the connection was closed")
        self._data += data
        while True:
            if self._missing:
                if len(self._data) < self._missing:
                    return
                yield Frame("bytes", bytes(self._taken(self._missing)))
                self._missing = 0
            if (end := self._data.find(b"\n")) < 0:
                return
            if line := self._taken(end + 1).strip():
                try:
                    ((kind, value),) = json.loads(line).items()
                except (ValueError, AttributeError) as error:
                    raise BrokenFrames(f"not a frame: {line[:40]!r}") from error
                if kind != "bytes":
                    yield Frame(kind, value)
                self._missing = value if kind == "bytes" else 0

    def _taken(self, count: int) -> bytearray:
        taken = self._data[:count]
        del self._data[:count]
        return taken
