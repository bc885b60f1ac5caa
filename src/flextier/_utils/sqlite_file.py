"""Opening SQLite files: for the program that owns one, or for a reader that must not write."""

from __future__ import annotations

import json
import os
import sqlite3
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

_T = TypeVar("_T")

_POLL_INTERVAL = 0.01
"""Seconds between two attempts to get the lock of a file."""


def is_locked(error: BaseException) -> bool:
    """Whether an error says that another connection holds the lock of a file."""
    error = getattr(error, "orig", error)  # of SQLAlchemy's
    return isinstance(error, sqlite3.OperationalError) and "locked" in str(error)


CONTENT_ERRORS = (sqlite3.Error, zlib.error, UnicodeDecodeError, json.JSONDecodeError)
"""What reading from a file raises, a damaged one included."""


def is_damaged(error: BaseException) -> bool:
    """Whether an error says that a file is damaged, or no database."""
    if isinstance(error, sqlite3.OperationalError):
        return "decode to UTF-8" in str(error)
    return type(error) is sqlite3.DatabaseError or isinstance(error, (zlib.error, ValueError))


def until_unlocked(operation: Callable[[], _T], seconds: float) -> _T:
    """The result of an operation, repeated for some seconds while another connection writes."""
    until = time.monotonic() + seconds
    while True:
        try:
            return operation()
        except Exception as error:
            if not is_locked(error) or time.monotonic() >= until:
                raise
        time.sleep(_POLL_INTERVAL)


def open_private(path: str | Path, timeout: float = 5.0) -> sqlite3.Connection:
    """Open a file in autocommit mode, for any thread; create it readable by its owner only.

    Raises:
        OSError: the file cannot be created or opened.
        sqlite3.Error: SQLite cannot open it.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    return sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)


def open_read_only(path: str | Path, timeout: float = 60.0) -> sqlite3.Connection:
    """Open a file for reading, also where its directory may not be written to.

    Raises:
        sqlite3.Error: it cannot be opened, or is no database.
    """
    uri = f"{Path(path).resolve().as_uri()}?mode=ro"
    try:
        return _checked(uri, timeout)
    except sqlite3.OperationalError:
        # Without a -wal file, which the directory may forbid to create, no process writes to it.
        log = f"{os.path.realpath(path)}-wal"
        if os.path.exists(log) and os.path.getsize(log):
            raise
        return _checked(f"{uri}&immutable=1", timeout)


def _checked(uri: str, timeout: float) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=timeout, isolation_level=None)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection
