"""``OUTPUT.run/rows.db``: the finished rows of a run, in SQLite, and the thread that writes them.

Only finished rows are in it: a row that is missing is still pending.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic, sleep
from typing import Any, NamedTuple

from flextier._utils.sqlite_file import CONTENT_ERRORS, is_damaged, is_locked, open_private
from flextier.bulk.errors import BulkError, StorageError
from flextier.bulk.row import Identity
from flextier.journal import Journal, JournalError
from flextier.journal.records import JournalEntry

APPLICATION_ID = 0x666C7872  # "flxr"
VERSION = 1
DONE, FAILED = 1, 2

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE rows (
    done INTEGER PRIMARY KEY,  -- the order in which rows are finished
    identity NOT NULL UNIQUE,  -- the row's line, or its key as JSON text
    line INTEGER NOT NULL,     -- of the input
    digest BLOB NOT NULL,      -- of the row's content
    state INTEGER NOT NULL,    -- 1 done, 2 failed
    seen INTEGER NOT NULL,     -- the last version of the input that has the row
    line_json TEXT NOT NULL    -- its line of the output or of the errors file, as JSON
);
"""


def storage_error(path: Path, error: Exception) -> StorageError:
    """The error for one of SQLite's, with what to do about it."""
    if is_locked(error):
        return StorageError(f"{path} is locked: end what has a transaction open in it")
    if is_damaged(error):
        return StorageError(
            f"{path} is damaged, or no database ({error}): move {path.parent} away, and run the "
            "same again with overwrite=True (--overwrite): all rows are run again"
        )
    return StorageError(f"{path}: {error}")


class FinishedRow(NamedTuple):
    """A finished row, as it is stored."""

    identity: Identity
    line: int
    digest: bytes
    state: int
    input_version: int
    line_json: str = ""
    """Its line of the output; a look-up leaves it out."""


SeenMark = tuple[int, int, Identity]
"""Line, version of the input and identity of a finished row that is still in the input."""
Finished = dict[Identity, FinishedRow]


class CheckpointDB:
    """The database of a run. Used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open the database; create it if there is none.

        A BulkError: it belongs to another program, or to a newer flextier.
        """
        self.path = path
        try:
            self._db = open_private(path)
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise
        except (OSError, *CONTENT_ERRORS) as error:
            raise storage_error(path, error) from error

    def _prepare(self) -> None:
        application = self._pragma("application_id")
        version = self._pragma("user_version")
        if application not in (0, APPLICATION_ID):
            raise BulkError(f"{self.path} belongs to another program: move it away")
        if version > VERSION:
            raise BulkError(f"{self.path} was written by a newer flextier (format {version})")
        self._db.execute("PRAGMA journal_mode = WAL")
        # A commit returns when it is on the disk. Only the writer's thread waits for that.
        self._db.execute("PRAGMA synchronous = FULL")
        if version == 0:
            # One transaction: after a kill midway, it is repeated.
            self._db.executescript(
                f"BEGIN; {_SCHEMA} PRAGMA application_id = {APPLICATION_ID};"
                f"PRAGMA user_version = {VERSION}; COMMIT;"
            )

    def _pragma(self, name: str) -> int:
        return int(self._db.execute(f"PRAGMA {name}").fetchone()[0])

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    # --- metadata of the run ------------------------------------------------------------------

    def get_meta(self, name: str) -> Any:
        """A value of the run's metadata; None: it is not stored."""
        found = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if found is None else json.loads(found[0])

    def set_meta(self, meta: dict[str, Any]) -> None:
        """Store values of the run's metadata."""
        try:
            self.store((), (), meta)
        except sqlite3.Error as error:
            raise storage_error(self.path, error) from error

    # --- rows ---------------------------------------------------------------------------------

    @property
    def is_empty(self) -> bool:
        """Whether no row is finished."""
        return self._db.execute("SELECT 1 FROM rows LIMIT 1").fetchone() is None

    def store(
        self, rows: Iterable[FinishedRow], marks: Iterable[SeenMark], meta: dict[str, Any]
    ) -> None:
        """Store finished rows and the metadata that fit them, all or nothing.

        A row replaces its older record; ``marks`` are of rows that were finished before.
        """
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(
                "REPLACE INTO rows (identity, line, digest, state, seen, line_json) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                rows,
            )
            self._db.executemany("UPDATE rows SET line = ?, seen = ? WHERE identity = ?", marks)
            self._db.executemany(
                "REPLACE INTO meta VALUES (?, ?)",
                [(name, json.dumps(value)) for name, value in meta.items()],
            )
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # a full disk may have ended it already
                self._db.execute("ROLLBACK")
            raise

    def look_up(self, identities: list[Identity]) -> Finished:
        """Those of the rows that are finished."""
        marks = ",".join("?" * len(identities))
        query = f"SELECT identity, line, digest, state, seen FROM rows WHERE identity IN ({marks})"
        return {row[0]: FinishedRow(*row) for row in self._db.execute(query, identities)}

    def count(self, state: int, input_version: int) -> int:
        """The number of finished rows in a version of the input."""
        query = "SELECT count(*) FROM rows WHERE seen = ? AND state = ?"
        return int(self._db.execute(query, (input_version, state)).fetchone()[0])

    def stored_lines(self, state: int, input_version: int, *, by_line: bool) -> Iterator[str]:
        """The JSON lines of the finished rows in a version of the input.

        ``by_line``: in the order of the input; else in the order in which they were finished.
        """
        if by_line:
            self._db.execute("CREATE INDEX IF NOT EXISTS by_line ON rows (line)")
        query = "SELECT line_json FROM rows WHERE seen = ? AND state = ? ORDER BY "
        order = "line" if by_line else "done"
        found = self._db.execute(query + order, (input_version, state))
        return (row[0] for row in found)


_MAX_ROWS = 2000
"""Rows of one transaction, at most."""
_META_INTERVAL = 0.25
"""Seconds between two updates of the metadata (what was spent)."""
_RETRY_INTERVAL = 0.25
"""Seconds until a failed write is retried."""
_MIN_INTERVAL = 0.005
"""Seconds between two transactions. A thousand rows a second, each in its own transaction, would
take an eighth of the event loop's time."""

Used = tuple[Journal, JournalEntry]
"""A journal entry whose response a finished row has used."""


def _end() -> None:
    """The last item of the queue."""


@dataclass
class CheckpointWriter:
    """Writes to a :class:`CheckpointDB` in a thread, within milliseconds, in few transactions.

    A look-up sees all rows that were added before it.
    """

    database: CheckpointDB
    meta: Callable[[], dict[str, Any]]
    """Returns the metadata to store with the rows."""
    on_failure: Callable[[Exception], object]
    """Called in the thread at the first failed write."""
    part_file: Path | None = None
    """A file to which the lines of done rows are appended, for early readers."""
    failure: Exception | None = None
    """Why the last write failed; None: it did not."""

    def __post_init__(self) -> None:
        self._part = None if self.part_file is None else self.part_file.open("a", encoding="utf-8")
        self._queue: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._added = self._written = 0
        self._rows: list[FinishedRow] = []
        self._marks: list[SeenMark] = []
        self._lookups: list[tuple[list[Identity], Future[Finished]]] = []
        self._used: list[Used] = []
        self._meta_at = 0.0
        self._thread = threading.Thread(target=self._work, name="flextier-checkpoint", daemon=True)
        self._thread.start()

    @property
    def backlog(self) -> int:
        """Finished rows that are not on the disk yet."""
        return self._added - self._written

    def add(self, row: FinishedRow, used: Sequence[Used] = ()) -> None:
        """Store a finished row; after that, no other call gets the responses that it used."""
        self._added += 1
        self._queue.put(partial(self._rows.append, row))
        if used:
            self._queue.put(partial(self._used.extend, used))

    def mark_seen(self, line: int, input_version: int, identity: Identity) -> None:
        """Record that a finished row is in this version of the input, and on which line."""
        self._queue.put(partial(self._marks.append, (line, input_version, identity)))

    def look_up(self, identities: list[Identity]) -> Future[Finished]:
        """Those of the rows that are finished."""
        future: Future[Finished] = Future()
        self._queue.put(partial(self._lookups.append, (identities, future)))
        return future

    def close(self) -> None:
        """Write what is left; a StorageError if some of it cannot be written."""
        self._queue.put(_end)
        self._thread.join()
        if self._part is not None:
            self._part.close()
        if self.failure is not None:
            raise StorageError(
                f"{self.database.path}: {self.failure}; {len(self._rows)} finished rows could not "
                "be written. Free disk space, and run the same again"
            )

    def _work(self) -> None:
        ended = False
        while not ended:
            ended = self._gather()
            try:
                self._write(ended)
            except (sqlite3.Error, OSError) as error:
                is_first, self.failure = self.failure is None, error
                if is_first:
                    self.on_failure(error)
            if not self._lookups and not ended:
                sleep(_MIN_INTERVAL)
            while self._lookups:
                self._answer(*self._lookups.pop())

    def _gather(self) -> bool:
        """Wait for an item, and take all that are queued; return whether the last one was."""
        try:
            item = self._queue.get(timeout=_RETRY_INTERVAL if self.failure else None)
            while item is not _end:
                item()
                if len(self._rows) >= _MAX_ROWS:
                    return False
                item = self._queue.get_nowait()
        except Empty:
            return False
        return True

    def _write(self, is_last: bool) -> None:
        meta: dict[str, Any] = {}
        if is_last or monotonic() - self._meta_at >= _META_INTERVAL:
            meta = self.meta()
        if self._rows or self._marks or meta:
            self.database.store(self._rows, self._marks, meta)
        if meta:
            self._meta_at = monotonic()
        if self._part is not None:
            lines = [f"{row.line_json}\n" for row in self._rows if row.state == DONE]
            self._part.write("".join(lines))
            self._part.flush()
        self._written += len(self._rows)
        self._rows.clear()
        self._marks.clear()
        self.failure = None
        # The rows are stored; calls get the journal's error themselves.
        with suppress(JournalError):
            for journal in {journal for journal, _ in self._used}:
                journal.use_up([entry for its, entry in self._used if its is journal])
            self._used.clear()

    def _answer(self, identities: list[Identity], future: Future[Finished]) -> None:
        try:
            future.set_result(self.database.look_up(identities))
        except sqlite3.Error as error:
            future.set_exception(storage_error(self.database.path, error))
