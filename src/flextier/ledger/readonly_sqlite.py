"""Reading a SQLite file in a directory that this user may not write to.

SQLite creates shared memory beside a file with a write-ahead log, even to read it. Where it may
not, a closed ledger, which has no log, is opened with ``immutable=1``: without locks, so that
changes by other processes are checked for afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from flextier.ledger.errors import LedgerError


def needs_immutable(path: Path) -> bool:
    """Whether the file can only be read with ``immutable=1``, and has no log that this ignores."""
    return _is_directory_readonly(path) and not _wal_size(path)


@contextmanager
def check_unchanged(path: Path, shown: str) -> Iterator[None]:
    """Check that the file does not change while the block reads it.

    Raises:
        LedgerError: it was changed, or deleted.
    """
    before = _fingerprint(path, shown)
    try:
        yield
    except SQLAlchemyError as error:
        if _fingerprint(path, shown) != before:
            raise _changed(shown) from error
        raise
    if _fingerprint(path, shown) != before:
        raise _changed(shown)


def permission_hint(path: Path, message: str) -> str:
    """The permission that SQLite's error message asks for, as the end of a sentence, or empty."""
    if "readonly database" not in message and "unable to open" not in message:
        return ""
    if not _has_access(path, os.R_OK):
        return ": this user may not read the file"
    if _is_directory_readonly(path) and _wal_size(path):
        return (
            f": its newest records are in {_wal(path).name}, which needs shared memory beside it: "
            f"close the ledger in the programs that write it, or let this user read -wal and -shm, "
            f"or write to {path.resolve().parent}"
        )
    return ""


def _changed(shown: str) -> LedgerError:
    return LedgerError(
        f"{shown} was written while it was read without locks, as this user may not write to its "
        "directory: read it again"
    )


def _is_directory_readonly(path: Path) -> bool:
    return not _has_access(path.resolve().parent, os.W_OK)


def _has_access(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def _wal(path: Path) -> Path:
    real = path.resolve()  # SQLite follows links, too
    return real.with_name(f"{real.name}-wal")


def _wal_size(path: Path) -> int:
    try:
        return _wal(path).stat().st_size
    except OSError:  # it does not exist, or SQLite will report why it cannot be read
        return 0


def _fingerprint(path: Path, shown: str) -> tuple[int, int, int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise LedgerError(f"{shown} cannot be read: {error.strerror}") from error
    return found.st_ino, found.st_size, found.st_mtime_ns, _wal_size(path)
