"""Write a file atomically: it is replaced as a whole."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

_SQLITE = b"SQLite format 3"


@contextmanager
def atomic_write(path: str | os.PathLike[str], *, private: bool = True) -> Iterator[BinaryIO]:
    """A file to write to, which replaces ``path`` unless the block raises.

    If ``private``, only its owner can read it; else it keeps its mode. A pipe or a device is
    written to directly.

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
    refuse_database(path)
    temporary = target.with_name(f".flextier-{uuid4().hex}.tmp")
    try:
        with open(temporary, "xb", opener=_private if private else None) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if target.exists() and not private:
            temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def refuse_database(path: str | os.PathLike[str]) -> None:
    """Raise a ValueError if a file is a SQLite database."""
    if os.path.isfile(path):
        with open(path, "rb") as file:
            if file.read(len(_SQLITE)) == _SQLITE:
                raise ValueError(f"{os.fspath(path)} is a SQLite database: name another file")
