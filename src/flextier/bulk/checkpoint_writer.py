"""The thread that keeps finished rows: the loop hands them over and never waits for the disk."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic, sleep
from typing import Any

from flextier.bulk.checkpoint_db import DONE, CheckpointDB, CheckpointEntry, FinishedRow
from flextier.bulk.errors import StorageError
from flextier.bulk.row import Identity
from flextier.journal import Journal, JournalError
from flextier.journal.records import JournalEntry

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
