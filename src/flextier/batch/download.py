"""Downloads of output and error files: to disk, or to memory where the disk is full."""

from __future__ import annotations

import io
import os
import tempfile
import threading
from contextlib import suppress
from typing import IO

from flextier._openai.http_library import new_request
from flextier._utils.safe_warn import safe_warn
from flextier.batch.api import BatchAPI
from flextier.batch.line_response import read_line, read_lines
from flextier.batch.spool_file import named
from flextier.errors import MalformedAnswerError

_MAX_SAME = 5
"""Downloads of the same size, after which a file is not truncated, but has odd lines."""


class DownloadedFile:
    """The content of a file; closed, and deleted, when the last reference to it is dropped."""

    __slots__ = ("_same", "_size", "file", "lock")

    def __init__(self) -> None:
        """Download nothing yet."""
        self.file: IO[bytes]
        try:
            self.file = tempfile.TemporaryFile(prefix="flextier-")  # noqa: SIM115 - until dropped
        except OSError as error:
            self.file = _memory_file(error)
        self.lock = threading.Lock()
        self._size, self._same = -1, 0

    def download(self, api: BatchAPI, file_id: str) -> None:
        """Download the file; call it again after a transient error.

        A ``MalformedAnswerError`` says that it is truncated, or no file of batch lines.
        """
        try:
            api.download(file_id, self.file)
        except OSError as error:
            if isinstance(self.file, io.BytesIO):
                raise
            with suppress(OSError):
                self.file.close()
            self.file = _memory_file(error)
            api.download(file_id, self.file)
        problem, is_page = _problem(self.file)
        size = self.file.seek(0, os.SEEK_END)
        self._size, self._same = size, self._same + 1 if size == self._size else 1
        if problem and (is_page or self._same < _MAX_SAME):
            raise MalformedAnswerError(
                message=f"file {file_id} {problem}", request=new_request("https://api.openai.com")
            )

    def read(self, offset: int, length: int) -> bytes:
        """The bytes of one line."""
        with self.lock:
            self.file.seek(offset)
            return self.file.read(length)

    def __del__(self) -> None:
        with suppress(OSError):  # of a full disk: the rest of the file is not needed any more
            self.file.close()


def _memory_file(error: OSError) -> IO[bytes]:
    safe_warn(
        f"the output of a batch is held in memory, as it cannot be written: {named(error).strerror}"
    )
    return io.BytesIO()


def _problem(content: IO[bytes]) -> tuple[str, bool]:
    """Why the content is no file of batch lines, or empty; and whether it is a proxy's page."""
    first = None
    for _, _, line in read_lines(content):
        if line is not None and isinstance(line.get("custom_id"), str):
            last = _last_line(content)
            truncated = not last.endswith(b"\n") and read_line(last) is None
            return (f"is truncated: it ends {last[-80:]!r}" if truncated else ""), False
        first = first or line
    content.seek(0)
    start = content.read(80).strip()
    is_error = first is not None and "custom_id" not in first and first.get("error")
    is_page = start.startswith(b"<") or bool(is_error)
    return f"has no batch line, but begins {start!r}", is_page


def _last_line(content: IO[bytes]) -> bytes:
    size = content.seek(0, os.SEEK_END)
    tail, step = b"", 1 << 16
    while b"\n" not in tail[:-1] and len(tail) < size:
        start = max(0, size - len(tail) - step)
        content.seek(start)
        tail = content.read(size - start)
        step *= 4
    return tail[tail[:-1].rfind(b"\n") + 1 :]
