"""The journal's tables, and what version of them a file has."""

from __future__ import annotations

import sqlite3
import time

from flextier._utils.sqlite_file import open_private
from flextier.journal.errors import JournalError, NewerJournalError

APPLICATION_ID = 0x464C584A
"""In the file's header, so that another program's database is never taken for a journal: FLXJ."""

VERSION = 2

_PATIENCE = 60.0
"""Seconds to wait for another process that writes."""

_TABLES = """
CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- the byte of the owners' file that its process locks
    pid INTEGER NOT NULL,
    host TEXT NOT NULL,
    started REAL NOT NULL
);
CREATE TABLE batches (
    tag TEXT PRIMARY KEY, -- what its metadata say
    base_url TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    model TEXT NOT NULL,
    lines INTEGER NOT NULL,
    owner INTEGER NOT NULL, -- the run that sends it
    sealed REAL NOT NULL,
    file_id TEXT,
    batch_id TEXT, -- NULL: unknown whether it was created
    status TEXT,
    output_file_id TEXT,
    error_file_id TEXT
);
CREATE TABLE calls (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL, -- what is asked, digested
    n INTEGER NOT NULL, -- the nth call of a run that asks this
    state TEXT NOT NULL, -- asked, batched, background or done
    owner INTEGER NOT NULL, -- the run that asks
    tag TEXT, -- the batch, and
    custom_id TEXT, -- the line in it
    model TEXT,
    lane TEXT, -- where it was answered, or is being answered
    status INTEGER,
    request_id TEXT,
    digest BLOB, -- of the answer
    answer BLOB, -- compressed; NULL where answers are not kept
    at REAL, -- when it was answered, in seconds since the epoch
    response_id TEXT -- of the background response
);
CREATE UNIQUE INDEX calls_by_key ON calls (key, n);
CREATE INDEX calls_by_line ON calls (tag, custom_id) WHERE tag IS NOT NULL;
CREATE TABLE taken ( -- which of them a run has asked already
    run INTEGER NOT NULL,
    key BLOB NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (run, key, n)
) WITHOUT ROWID;
"""


def connect(path: str) -> sqlite3.Connection:
    """Open the journal; make it, if there is none, with a file that only its owner can read.

    Raises:
        JournalError: it cannot be opened, or is something else's file.
    """
    try:
        connection = open_private(path, timeout=_PATIENCE)
    except (OSError, sqlite3.Error) as error:
        raise JournalError(f"{_named(path)} cannot be opened: {error}") from error
    try:
        _prepare(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise JournalError(f"{_named(path)} cannot be used: {error}") from error
    except JournalError:
        connection.close()
        raise
    return connection


def _named(path: str) -> str:
    return f"the journal {path} (FlexPolicy.journal, FLEXTIER_JOURNAL)"


def _prepare(connection: sqlite3.Connection, path: str) -> None:
    if not _is_new(connection):  # before the next line changes a file of another program
        check_version(connection, path)
    _to_wal(connection)
    # What is written survives the process at once. Where it has to survive the machine, too, the
    # transaction asks for more: see Journal.seal.
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        _make_or_check(connection, path)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _to_wal(connection: sqlite3.Connection) -> None:
    """Two processes that open a new file at once: SQLite does not wait here by itself."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
        time.sleep(0.01)


def _is_new(connection: sqlite3.Connection) -> bool:
    """Whether the file is still empty."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return not (application or version or tables)


def _make_or_check(connection: sqlite3.Connection, path: str) -> None:
    if not _is_new(connection):
        check_version(connection, path)
        _migrate(connection)
        return
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version={VERSION}")


def _migrate(connection: sqlite3.Connection) -> None:
    """Bring the tables of an earlier flextier to this version."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version < VERSION:  # 1 knew no background responses
        connection.execute("ALTER TABLE calls ADD COLUMN response_id TEXT")
        connection.execute(f"PRAGMA user_version={VERSION}")


def check_version(connection: sqlite3.Connection, path: str) -> None:
    """Whether a file is a journal that this flextier knows.

    Raises:
        JournalError: it is something else's file.
        NewerJournalError: a later flextier made it.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise JournalError(
            f"{_named(path)} is another program's database: give the journal a file of its own"
        )
    if version > VERSION:
        raise NewerJournalError(
            f"{_named(path)} has version {version}, and this flextier knows {VERSION}: update "
            "flextier, or use another file"
        )
