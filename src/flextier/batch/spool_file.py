"""The file of lines that a batch is made from, on disk as the calls come."""

from __future__ import annotations

import errno
import os
import tempfile
from typing import NamedTuple

MAX_LINES = 50_000
"""What a batch takes."""

MAX_BYTES = 150_000_000
"""A batch takes 200 MB; uploads of 158 MB have been rejected (bespokelabsai/curator#610)."""


class LineSpan(NamedTuple):
    """Where a line is in its file."""

    at: int
    length: int


class SpoolFile:
    """Lines on disk, in a file without a name: whatever happens, nothing is left of it."""

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile(prefix="flextier-", buffering=0)  # noqa: SIM115
        self.lines = 0
        self.size = 0

    def add(self, line: bytes) -> LineSpan:
        """Write one line, which ends in a newline.

        Raises:
            OSError: it cannot be written. What was written before is as it was.
        """
        span = LineSpan(self.size, len(line))
        self.file.seek(self.size)
        try:
            written = self.file.write(line)
        except OSError:
            self.file.truncate(self.size)
            raise
        if written != len(line):
            self.file.truncate(self.size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.lines += 1
        self.size += len(line)
        return span

    def read(self, span: LineSpan) -> bytes:
        """One line."""
        self.file.seek(span.at)
        return self.file.read(span.length)

    def close(self) -> None:
        """Give the space back."""
        self.file.close()


def line_of(custom_id: str, endpoint: str, body: bytes) -> bytes:
    """A line of an input file; ``endpoint`` with ``/v1``, ``body`` as JSON."""
    return b'{"custom_id":"%s","method":"POST","url":"%s","body":%s}\n' % (
        custom_id.encode(),
        endpoint.encode(),
        body,
    )
