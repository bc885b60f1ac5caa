"""A batch's input file on disk, written line by line as calls join."""

from __future__ import annotations

import errno
import os
import tempfile
from typing import NamedTuple

MAX_LINES = 50_000
"""The API's limit for a batch."""

MAX_BYTES = 150_000_000
"""The API allows 200 MB, but has rejected uploads of 158 MB (bespokelabsai/curator#610)."""

_BYTES_PER_TOKEN = 4
"""Estimate for English text in JSON; OpenAI counts the enqueued tokens by itself."""


def estimated_tokens(size: int) -> int:
    """The tokens of ``size`` bytes of lines."""
    return max(1, size // _BYTES_PER_TOKEN)


class LineSpan(NamedTuple):
    """Offset and length of a line in its file."""

    offset: int
    length: int


class SpoolFile:
    """Lines in an unnamed temporary file, deleted even if the process is killed."""

    def __init__(self) -> None:
        try:
            self.file = tempfile.TemporaryFile(prefix="flextier-", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise named(error) from error
        self.lines = 0
        self.size = 0

    def add(self, line: bytes) -> LineSpan:
        """Write one line, which ends in a newline; after an OSError, those before it are intact."""
        span = LineSpan(self.size, len(line))
        self.file.seek(self.size)
        try:
            written = self.file.write(line)
        except OSError as error:
            self.file.truncate(self.size)
            raise named(error) from error
        if written != len(line):
            self.file.truncate(self.size)
            raise named(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        self.lines += 1
        self.size += len(line)
        return span

    def read(self, span: LineSpan) -> bytes:
        """The bytes of one line."""
        self.file.seek(span.offset)
        return self.file.read(span.length)

    @property
    def tokens(self) -> int:
        """Estimated tokens of all lines."""
        return estimated_tokens(self.size)

    def close(self) -> None:
        """Close the file, which deletes it."""
        self.file.close()


def named(error: OSError) -> OSError:
    """The error of a temporary file, whose ``strerror`` names the folder and how to change it."""
    try:
        folder = tempfile.gettempdir()
    except OSError:  # there is none that can be written to
        folder = os.environ.get("TMPDIR", "")
    reason = error.strerror or str(error)
    return OSError(error.errno, f"{reason}, {folder}: set TMPDIR to a folder with more room")


def line_of(custom_id: str, endpoint: str, body: bytes) -> bytes:
    """A line of an input file; ``endpoint`` with ``/v1``, ``body`` as JSON."""
    return b'{"custom_id":"%s","method":"POST","url":"%s","body":%s}\n' % (
        custom_id.encode(),
        endpoint.encode(),
        body,
    )
