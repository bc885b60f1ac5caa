"""Reading a SQLite file where nothing may be written, such as a read-only disk.

Even for a reader, SQLite makes shared memory beside a file that has a write-ahead log. Where it may
not, a closed ledger, whose log is gone, is read as a file that does not change (``immutable``): no
lock is taken, so a change by another process is checked for afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from flextier.ledger.errors import LedgerError


def is_still(path: Path) -> bool:
    """Whether the file can be read only as ``immutable``, and has no log to miss."""
    return _is_closed_to_us(path) and not _size_of_log(path)


@contextmanager
def unchanged(path: Path, shown: str) -> Iterator[None]:
    """Read the file inside; what was read while another process wrote is not to be trusted.

    Raises:
        LedgerError: it was changed meanwhile, or is gone.
    """
    before = _state(path, shown)
    try:
        yield
    except SQLAlchemyError as error:
        if _state(path, shown) != before:
            raise _changed(shown) from error
        raise
    if _state(path, shown) != before:
        raise _changed(shown)


def lack(path: Path, why: str) -> str:
    """What a reader needs, as the end of a sentence, where that is why SQLite failed."""
    if "readonly database" not in why and "unable to open" not in why:
        return ""
    if not _may(path, os.R_OK):
        return ": this user may not read the file"
    if _is_closed_to_us(path) and _size_of_log(path):
        return (
            f": its newest records are in {_log(path).name}, which needs shared memory beside it: "
            f"close the ledger in the programs that write it, or let this user read -wal and -shm, "
            f"or write to {path.resolve().parent}"
        )
    return ""


def _changed(shown: str) -> LedgerError:
    return LedgerError(
        f"{shown} was written while it was read without locks, as this user may not write to its "
        "directory: read it again"
    )


def _is_closed_to_us(path: Path) -> bool:
    return not _may(path.resolve().parent, os.W_OK)


def _may(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def _log(path: Path) -> Path:
    real = path.resolve()  # SQLite follows links, too
    return real.with_name(f"{real.name}-wal")


def _size_of_log(path: Path) -> int:
    try:
        return _log(path).stat().st_size
    except OSError:  # there is none; or its directory is closed, and SQLite will say so
        return 0


def _state(path: Path, shown: str) -> tuple[int, int, int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise LedgerError(f"{shown} cannot be read: {error.strerror}") from error
    return found.st_ino, found.st_size, found.st_mtime_ns, _size_of_log(path)
