"""``rows.db``: what a run has done so far, one record a row, in SQLite beside the
output, and the thread that writes it.

A record is made when its row is finished, and never before: what is not there is still to be done.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic, sleep
from typing import Any, NamedTuple

from flextier._utils.sqlite_file import open_private
from flextier.bulk.errors import BulkError, StorageError
from flextier.bulk.row import Identity
from flextier.journal import Journal, JournalError
from flextier.journal.records import JournalEntry

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
            self._db = open_private(path)
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


_AT_ONCE = 2000
"""Records of one transaction, at most."""
_FACTS_EVERY = 0.25
"""Seconds between two accounts of what was spent."""
_TRY_AGAIN = 0.25
"""Seconds until a disk that was full is tried again."""

_PAUSE = 0.005
"""Seconds between two transactions. A thousand rows a second, each in one of its own, would take
the loop an eighth of its time."""

Mark = tuple[int, int, Identity]
Used = tuple[Journal, JournalEntry]
_Look = tuple[list[Identity], "Future[dict[Identity, CheckpointEntry]]"]
_END = object()


class CheckpointWriter:
    """Writes to a :class:`CheckpointDB` within milliseconds, whatever there is together.

    A look-up sees all that was handed over before it.

    Args:
        state: the database.
        facts: returns what is to be kept besides rows.
        on_failure: called in this thread at the first failed write.
        part: a file that the lines of done rows are added to, for readers in a hurry.
    """

    def __init__(
        self,
        state: CheckpointDB,
        *,
        facts: Callable[[], dict[str, Any]],
        on_failure: Callable[[Exception], None],
        part: Path | None = None,
    ) -> None:
        self._state = state
        self._facts = facts
        self._on_failure = on_failure
        self._part = None if part is None else part.open("a", encoding="utf-8")
        self._things: SimpleQueue[Any] = SimpleQueue()
        self._handed = self._kept = 0
        self._records: list[FinishedRow] = []
        self._marks: list[Mark] = []
        self._looks: list[_Look] = []
        self._used: list[Used] = []
        self._facts_at = 0.0
        self.failure: Exception | None = None
        """Why the last write failed; None: it did not."""
        self._thread = threading.Thread(target=self._work, name="flextier-keeper", daemon=True)
        self._thread.start()

    @property
    def backlog(self) -> int:
        """Finished rows that are not on the disk yet."""
        return self._handed - self._kept

    def keep(self, record: FinishedRow, used: Sequence[Used] = ()) -> None:
        """Keep a finished row; then, no other one is to get the answers that it used."""
        self._handed += 1
        self._things.put(record)
        if used:
            self._things.put([*used])

    def mark(self, line: int, seen: int, identity: Identity) -> None:
        """Note that a row which was finished before is in this version of the input, and where."""
        self._things.put((line, seen, identity))

    def look_up(self, identities: list[Identity]) -> Future[dict[Identity, CheckpointEntry]]:
        """What is known of some rows, all that was handed over so far included."""
        future: Future[dict[Identity, CheckpointEntry]] = Future()
        self._things.put((identities, future))
        return future

    def close(self) -> None:
        """Write what is left.

        Raises:
            StorageError: some of it cannot be written.
        """
        self._things.put(_END)
        self._thread.join()
        if self._part is not None:
            self._part.close()
        if self.failure is not None:
            raise StorageError(
                f"{self._state.path}: {self.failure}; {len(self._records)} rows are answered that "
                "could not be kept. Make room, and run the same again"
            )

    def _work(self) -> None:
        ended = False
        while not ended:
            ended = self._gather()
            try:
                self._write(ended)
            except (sqlite3.Error, OSError) as error:
                first, self.failure = self.failure is None, error
                if first:
                    self._on_failure(error)
            if self._looks:
                self._answer()
            elif not ended:
                sleep(_PAUSE)

    def _gather(self) -> bool:
        """Wait for something to do, and take what else there is; whether it is the last."""
        try:
            thing = self._things.get(timeout=_TRY_AGAIN if self.failure else None)
            while thing is not _END:
                self._sort(thing)
                if len(self._records) >= _AT_ONCE:
                    return False
                thing = self._things.get_nowait()
        except Empty:
            return False
        return True

    def _sort(self, thing: Any) -> None:
        if type(thing) is FinishedRow:
            self._records.append(thing)
        elif type(thing) is list:
            self._used += thing
        elif len(thing) == 2:
            self._looks.append(thing)
        else:
            self._marks.append(thing)

    def _write(self, last: bool) -> None:
        facts: dict[str, Any] = {}
        if last or monotonic() - self._facts_at >= _FACTS_EVERY:
            facts = self._facts()
        if self._records or self._marks or facts:
            self._state.store(self._records, self._marks, facts)
        if facts:
            self._facts_at = monotonic()
        if self._part is not None:
            lines = [f"{record.stored_line}\n" for record in self._records if record.state == DONE]
            self._part.write("".join(lines))
            self._part.flush()
        self._kept += len(self._records)
        self._records, self._marks, self.failure = [], [], None
        self._use_up()

    def _use_up(self) -> None:
        used, self._used = self._used, []
        try:
            for journal in {journal for journal, _ in used}:
                journal.use_up([entry for its, entry in used if its is journal])
        except JournalError:  # the rows are kept; the journal says so itself to calls
            self._used = used

    def _answer(self) -> None:
        for look in self._looks:
            self._answer_one(*look)
        self._looks = []

    def _answer_one(
        self, identities: list[Identity], future: Future[dict[Identity, CheckpointEntry]]
    ) -> None:
        try:
            future.set_result(self._state.known(identities))
        except sqlite3.Error as error:
            future.set_exception(StorageError(f"{self._state.path}: {error}"))
