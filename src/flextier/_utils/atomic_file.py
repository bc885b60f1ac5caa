"""Write a file atomically: it is replaced as a whole, and only its owner can read it."""

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
    """A file to write to, which replaces ``path`` unless the block raises.

    A pipe or a device is written to directly.

    Raises:
        ValueError: ``path`` is a SQLite database: a ledger, or a journal.
        OSError: the file cannot be written.
    """
    target = Path(path)
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if target.exists() and not target.is_file():
        with target.open("wb") as file:
            yield file
        return
    target = target.resolve()  # a symbolic link stays one
    _refuse_database(target, path)
    temporary = target.with_name(f".flextier-{uuid4().hex}.tmp")
    try:
        with open(temporary, "xb", opener=_private) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _refuse_database(target: Path, path: str | os.PathLike[str]) -> None:
    if target.is_file():
        with target.open("rb") as file:
            if file.read(len(_SQLITE)) == _SQLITE:
                raise ValueError(f"{os.fspath(path)} is a SQLite database: name another file")
