"""A file that is replaced as a whole, and that only its owner can read."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

_SQLITE = b"SQLite format 3"


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write to, put in its place where all went well; else what was there stays.

    What is no file, such as a pipe or a device, is written to as it is.

    Raises:
        ValueError: a SQLite database is there: a ledger, or a journal.
        OSError: it cannot be written.
    """
    place = Path(path)
    if place.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if place.exists() and not place.is_file():
        with place.open("wb") as file:
            yield file
        return
    place = place.resolve()  # a link stays one
    _spare_databases(place, path)
    beside = place.with_name(f".flextier-{uuid4().hex}.tmp")
    try:
        with open(beside, "xb", opener=_private) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(place)
    finally:
        beside.unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _spare_databases(place: Path, path: str | os.PathLike[str]) -> None:
    if place.is_file():
        with place.open("rb") as file:
            if file.read(len(_SQLITE)) == _SQLITE:
                raise ValueError(f"{os.fspath(path)} is a SQLite database: give another file")
