"""``rows.db``: what a run has done so far, one record a row, in SQLite beside the output.

A record is made when its row is finished, and never before: what is not there is still to be done.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from flextier.bulk.errors import BulkError, StorageError
from flextier.bulk.row import Identity

APPLICATION = 0x666C7872  # "flxr"
VERSION = 1
DONE, FAILED = 1, 2

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE rows (
    done INTEGER PRIMARY KEY,  -- grows in the order in which rows are finished
    identity NOT NULL UNIQUE,  -- the row's line, or its key as JSON text
    line INTEGER NOT NULL,     -- where the row stands in the input
    digest BLOB NOT NULL,      -- of its content
    state INTEGER NOT NULL,    -- 1 done, 2 failed
    seen INTEGER NOT NULL,     -- the last version of the input that it was in
    line_json TEXT NOT NULL         -- its line of the output, or of the errors file, as JSON
);
"""


class FinishedRow(NamedTuple):
    """A finished row, as it is kept."""

    identity: Identity
    line: int
    digest: bytes
    state: int
    seen: int
    stored_line: str


class CheckpointEntry(NamedTuple):
    """What is known of a row that was finished before."""

    line: int
    digest: bytes
    state: int
    seen: int


class CheckpointDB:
    """The database of a run. Used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open it, or make it.

        Raises:
            BulkError: it is another program's, or a newer flextier's.
            StorageError: it cannot be made.
        """
        self.path = path
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"{path}: {error}") from error
        try:
            self._prepare()
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise StorageError(f"{path}: {error}") from error
        except BaseException:
            self._db.close()
            raise

    def _prepare(self) -> None:
        application = self._pragma("application_id")
        version = self._pragma("user_version")
        if application not in (0, APPLICATION):
            raise BulkError(f"{self.path} is not of flextier: move it away")
        if version > VERSION:
            raise BulkError(f"{self.path} was made by a newer flextier (version {version} of it)")
        self._db.execute("PRAGMA journal_mode = WAL")
        # Each commit reaches the disk itself: a thread of its own waits for it, no row does.
        self._db.execute("PRAGMA synchronous = FULL")
        if version == 0:
            # One transaction: if killed midway, it is made again.
            self._db.executescript(
                f"BEGIN; {_SCHEMA} PRAGMA application_id = {APPLICATION};"
                f"PRAGMA user_version = {VERSION}; COMMIT;"
            )

    def _pragma(self, name: str) -> int:
        return int(self._db.execute(f"PRAGMA {name}").fetchone()[0])

    def close(self) -> None:
        """Close it. What was stored is kept."""
        self._db.close()

    # --- facts about the run ------------------------------------------------------------------

    def fact(self, name: str) -> Any:
        """A fact about the run; None: it is not known."""
        found = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if found is None else json.loads(found[0])

    def set_facts(self, facts: dict[str, Any]) -> None:
        """Keep facts about the run.

        Raises:
            StorageError: that cannot be written.
        """
        try:
            self.store((), (), facts)
        except sqlite3.Error as error:
            raise StorageError(f"{self.path}: {error}") from error

    # --- rows ---------------------------------------------------------------------------------

    @property
    def is_empty(self) -> bool:
        """Whether no row is finished."""
        return self._db.execute("SELECT 1 FROM rows LIMIT 1").fetchone() is None

    def store(
        self,
        records: Iterable[FinishedRow],
        marks: Iterable[tuple[int, int, Identity]],
        facts: dict[str, Any],
    ) -> None:
        """Keep finished rows, all or none of them; each in place of what was known of it.

        Args:
            records: the rows.
            marks: line, version of the input and identity of rows that were finished before, and
                are still in the input.
            facts: facts about the run that go with them.

        Raises:
            sqlite3.Error: that cannot be written; nothing was.
        """
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(
                "REPLACE INTO rows (identity, line, digest, state, seen, line_json) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                records,
            )
            self._db.executemany("UPDATE rows SET line = ?, seen = ? WHERE identity = ?", marks)
            self._db.executemany(
                "REPLACE INTO meta VALUES (?, ?)",
                [(name, json.dumps(value)) for name, value in facts.items()],
            )
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # a full disk may have ended it already
                self._db.execute("ROLLBACK")
            raise

    def known(self, identities: list[Identity]) -> dict[Identity, CheckpointEntry]:
        """What is known of some rows: of those that were finished before."""
        found = {}
        for first in range(0, len(identities), 500):
            some = identities[first : first + 500]
            marks = ",".join("?" * len(some))
            query = (
                f"SELECT identity, line, digest, state, seen FROM rows WHERE identity IN ({marks})"
            )
            for identity, *known in self._db.execute(query, some):
                found[identity] = CheckpointEntry(*known)
        return found

    def stored_lines(self, state: int, seen: int, *, by_line: bool) -> Iterator[str]:
        """What was kept of the rows of one version of the input, in its order or as they came."""
        if by_line:
            self._db.execute("CREATE INDEX IF NOT EXISTS by_line ON rows (line)")
        query = "SELECT line_json FROM rows WHERE seen = ? AND state = ? ORDER BY "
        found = self._db.execute(query + ("line" if by_line else "done"), (seen, state))
        return (row[0] for row in found)
