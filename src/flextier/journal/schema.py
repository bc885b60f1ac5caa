"""The journal's tables and their version."""

from __future__ import annotations

import sqlite3

from flextier._utils.sqlite_file import CONTENT_ERRORS, open_private, until_unlocked
from flextier.journal.errors import JournalError, NewerJournalError, journal_error, named

APPLICATION_ID = 0x464C584A
"""In the file's header (``FLXJ``), so that no other program's database is used as a journal."""

VERSION = 1

_TABLES = """
CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- the byte of JOURNAL-owners that its process locks
    pid INTEGER NOT NULL,
    host TEXT NOT NULL,
    started REAL NOT NULL
);
CREATE TABLE batches (
    tag TEXT PRIMARY KEY, -- in its metadata
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
    key BLOB NOT NULL, -- the cache key
    n INTEGER NOT NULL, -- the nth call of a run with this key
    state TEXT NOT NULL, -- asked, batched, background or done
    owner INTEGER NOT NULL, -- the run that sends it
    tag TEXT, -- the batch that it is in
    custom_id TEXT, -- its line there
    model TEXT,
    lane TEXT, -- that has served it, or is serving it
    status INTEGER,
    request_id TEXT,
    digest BLOB, -- of the response body
    answer BLOB, -- the response body, compressed; NULL if it is not stored
    at REAL, -- when it was served, in seconds since the epoch
    response_id TEXT -- of the background response
);
CREATE UNIQUE INDEX calls_by_key ON calls (key, n);
CREATE INDEX calls_by_line ON calls (tag, custom_id) WHERE tag IS NOT NULL;
CREATE TABLE taken ( -- the numbers that the calls of a run have taken
    run INTEGER NOT NULL,
    key BLOB NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (run, key, n)
) WITHOUT ROWID;
"""


def connect(path: str, wait: float) -> sqlite3.Connection:
    """Open the journal; create it, readable by its owner only, if there is none.

    This waits up to ``wait`` seconds for another process that writes; its statements do not.
    """
    try:
        return until_unlocked(lambda: _opened(path), wait)
    except (OSError, *CONTENT_ERRORS) as error:
        raise journal_error(path, error, "opened") from error


def _opened(path: str) -> sqlite3.Connection:
    connection = open_private(path, timeout=0)
    try:
        _prepare(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: str) -> None:
    if not _is_new(connection):  # before the next line changes a file of another program
        check_version(connection, path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("BEGIN IMMEDIATE")
    if _is_new(connection):  # no other process has made the tables meanwhile
        for statement in filter(str.strip, _TABLES.split(";\n")):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={VERSION}")
    connection.execute("COMMIT")


def _is_new(connection: sqlite3.Connection) -> bool:
    """Whether the file is still empty."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return not (application or version or tables)


def check_version(connection: sqlite3.Connection, path: str) -> None:
    """Raise a JournalError if the file is another program's, or a newer flextier wrote it."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise JournalError(
            f"{named(path)} is another program's database: give the journal a file of its own"
        )
    if version > VERSION:
        raise NewerJournalError(
            f"{named(path)} has version {version}, this flextier supports {VERSION}: update "
            "flextier, or use another file"
        )
