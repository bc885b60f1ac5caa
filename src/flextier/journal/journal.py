"""Journal: what this program has asked, where it is, and what was answered."""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any

from flextier._utils.fork import after_fork_in_child
from flextier.journal import reader as reading
from flextier.journal.batches import BatchRow, BatchTable
from flextier.journal.errors import JournalError
from flextier.journal.process_locks import owners_at
from flextier.journal.records import (
    AcceptedResponse,
    BatchPlace,
    JournaledResponse,
    JournalEntry,
    digest_of,
    packed,
    unpacked,
)
from flextier.journal.schema import connect

_USED_UP = 0
"""The run that owns what is used up, permanently. Those of programs begin at 1."""

_NO_RUN = 0
"""The run, which is never alive, that has a background response which no call waits for now."""

_HELD = ("ours", "background")
"""The states of what a call has to itself."""

_MANY = 16


class Journal:
    """A SQLite file that remembers calls. Threads and processes may share it.

    Every entry is written before the request that it is about; an answer, before it is handed over.
    A program that is killed and started again gets the answers that it had, finds its batches, and
    asks only for the rest. The file, and what SQLite puts beside it, can be read by its owner only.

    A call is known by its base URL, endpoint, body (without the service tier) and namespace.
    Streams are not remembered.

    Example::

        FlexPolicy(journal="nightly.db", journal_namespace="2026-11-22")
        Journal("nightly.db").forget(older_than=30 * 86_400)
    """

    def __init__(self, path: str | os.PathLike[str], *, wall: Callable[[], float] = time.time):
        """Open a journal; make it, if there is none.

        Args:
            path: of the file.
            wall: seconds since the epoch, for tests.

        Raises:
            JournalError: it cannot be opened, or is another program's.
            NewerJournalError: a later flextier made it.
        """
        self.path = os.fspath(path)
        self._wall = wall
        self._lock = threading.RLock()
        self._up_to: dict[bytes, int] = {}  # of what is asked often, all numbers below are taken
        self._connection = connect(self.path)
        try:
            self._owners = owners_at(self.path)
            self.run = self._begin_run()
        except OSError as error:
            self._connection.close()
            raise JournalError(f"{self.path}-owners cannot be locked: {error}") from error
        except BaseException:
            self._connection.close()
            raise
        self.batches = BatchTable(self._transaction, self._owners, self.run)
        """The batches that are on their way."""

    def _begin_run(self) -> int:
        with self._transaction() as sql:
            facts = (os.getpid(), socket.gethostname(), self._wall())
            cursor = sql("INSERT INTO runs (pid, host, started) VALUES (?, ?, ?)", facts)
            run: int = cursor.lastrowid
            self._owners.begin(run)
            for (other,) in sql("SELECT id FROM runs").fetchall():
                if not self._owners.alive(other):
                    self._end_run(sql, other)
        return run

    @staticmethod
    def _end_run(sql: Any, run: int) -> None:
        """Release the claims of a run; its batches stay."""
        sql("DELETE FROM taken WHERE run = ?", (run,))
        sql("DELETE FROM calls WHERE owner = ? AND state = 'asked'", (run,))
        sql("DELETE FROM runs WHERE id = ?", (run,))

    @contextmanager
    def _transaction(self, *, durable: bool = False) -> Iterator[Callable[..., Any]]:
        """Do all of it or nothing. ``durable``: it is there even if the machine loses its power."""
        with self._lock:
            connection = self._connection
            try:
                if durable:
                    connection.execute("PRAGMA synchronous=FULL")
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection.execute
                except BaseException:
                    if connection.in_transaction:  # SQLite has ended it itself if the disk is full
                        connection.execute("ROLLBACK")
                    raise
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise JournalError(
                    f"the journal {self.path} (FlexPolicy.journal, FLEXTIER_JOURNAL) cannot be "
                    f"used: {error}"
                ) from error
            finally:
                if durable:
                    connection.execute("PRAGMA synchronous=NORMAL")

    # --- a call's life ------------------------------------------------------------------------

    def take(self, key: bytes, *, once: bool = False, keep: float | None = None) -> JournalEntry:
        """The entry of a call that is to be made now.

        Args:
            key: its cache key (:func:`flextier.journal.cache_key.cache_key`).
            once: whether all calls that ask the same share one entry; else each of this run has
                its own, the first one that of the first in an earlier run, and so on.
            keep: seconds for which responses count; None: without end.
        """
        with self._transaction() as sql:
            n = 1 if once else self._next(sql, key)
            sql("INSERT OR IGNORE INTO taken VALUES (?, ?, ?)", (self.run, key, n))
            return self._claimed(sql, key, n, keep)

    def _next(self, sql: Any, key: bytes) -> int:
        n = self._up_to.get(key, 1)
        rows = sql(
            "SELECT DISTINCT n FROM taken WHERE run IN (?, ?) AND key = ? AND n >= ? ORDER BY n",
            (_USED_UP, self.run, key, n),
        )
        for (taken,) in rows:
            if taken != n:
                break
            n += 1
        if n >= _MANY:
            self._up_to[key] = n
        return n

    def claim(self, entry: JournalEntry, *, keep: float | None = None) -> JournalEntry:
        """The entry's state now; if no call claims it, this one does."""
        with self._transaction() as sql:
            return self._claimed(sql, entry.key, entry.n, keep, entry.state in _HELD)

    def _claimed(
        self, sql: Any, key: bytes, n: int, keep: float | None, ours: bool = False
    ) -> JournalEntry:
        row = sql(
            "SELECT id, state, owner, tag, custom_id, lane, status, request_id, answer, at, "
            "response_id FROM calls WHERE key = ? AND n = ?",
            (key, n),
        ).fetchone()
        if row is None:
            sql(
                "INSERT INTO calls (key, n, state, owner) VALUES (?, ?, 'asked', ?)",
                (key, n, self.run),
            )
            return JournalEntry(key, n, "ours")
        call, state, owner, tag, custom_id, lane, status, request_id, answer, at, response = row
        place = None if tag is None else BatchPlace(tag, custom_id)
        running = None if response is None else AcceptedResponse(response, lane)
        if state == "batched":
            return JournalEntry(key, n, "batched", place)
        if state == "asked" and ours and owner == self.run:
            return JournalEntry(key, n, "ours")  # as it was: its line was never sent
        elsewhere = not (ours and owner == self.run) and self._owners.alive(owner)
        if state in ("asked", "background") and elsewhere:
            return JournalEntry(key, n, "busy")
        if state == "background":
            sql("UPDATE calls SET owner = ? WHERE id = ?", (self.run, call))
            return JournalEntry(key, n, "background", running=running)
        if state == "done" and (keep is None or at > self._wall() - keep):
            if answer is not None:
                said = JournaledResponse(lane, status, request_id, unpacked(answer))
                return JournalEntry(key, n, "done", place, said)
            if place is not None and self.batches.has_output(sql, place.tag):
                return JournalEntry(key, n, "batched", place, fetched_again=True)
            if running is not None:
                return JournalEntry(key, n, "background", fetched_again=True, running=running)
        sql(
            "UPDATE calls SET state = 'asked', owner = ?, tag = NULL, custom_id = NULL, "
            "answer = NULL, response_id = NULL WHERE id = ?",
            (self.run, call),
        )
        return JournalEntry(key, n, "ours")

    def accepted(self, entry: JournalEntry, model: str, running: AcceptedResponse) -> None:
        """The call is a background response now: that is what it is found by."""
        with self._transaction() as sql:
            sql(
                "INSERT INTO calls (key, n, state, owner, model, lane, response_id) "
                "VALUES (?, ?, 'background', ?, ?, ?, ?) "
                "ON CONFLICT (key, n) DO UPDATE SET state = excluded.state, "
                "owner = excluded.owner, model = excluded.model, lane = excluded.lane, "
                "response_id = excluded.response_id, tag = NULL, custom_id = NULL, answer = NULL",
                (entry.key, entry.n, self.run, model, running.lane, running.response_id),
            )

    def called_off(self, entry: JournalEntry) -> None:
        """Drop the call's background response: the call is to be made again."""
        with self._transaction() as sql:
            sql(
                "UPDATE calls SET state = 'asked', owner = ?, response_id = NULL "
                "WHERE key = ? AND n = ? AND response_id IS NOT NULL",
                (self.run, entry.key, entry.n),
            )

    def answered(
        self, entry: JournalEntry, model: str, said: JournaledResponse, *, keep_answer: bool
    ) -> None:
        """The call was answered, and the answer is paid for.

        Without the answer it is kept where it can be fetched again, if it was in the background.
        """
        running = None if keep_answer or entry.running is None else entry.running.response_id
        with self._transaction() as sql:
            sql(
                "INSERT INTO calls (key, n, state, owner, model, lane, status, request_id, digest, "
                "answer, at, response_id) VALUES (?, ?, 'done', ?, ?, ?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (key, n) DO UPDATE SET state = excluded.state, "
                "model = excluded.model, lane = excluded.lane, status = excluded.status, "
                "request_id = excluded.request_id, digest = excluded.digest, "
                "answer = excluded.answer, at = excluded.at, tag = NULL, custom_id = NULL, "
                "response_id = excluded.response_id",
                (
                    entry.key,
                    entry.n,
                    self.run,
                    model,
                    said.lane,
                    said.status,
                    said.request_id,
                    digest_of(said.body),
                    packed(said.body) if keep_answer else None,
                    self._wall(),
                    running,
                ),
            )

    def release(self, entry: JournalEntry, *, ours: bool = True) -> None:
        """The call ended without a response; the next call with the same key is made again.

        A line of a batch and a background response stay for the next call with the same key; so
        does what another call of this run is making (not ``ours``).
        """
        with self._transaction() as sql:
            self._up_to.pop(entry.key, None)
            sql(
                "DELETE FROM taken WHERE run = ? AND key = ? AND n = ?",
                (self.run, entry.key, entry.n),
            )
            if ours:
                sql(
                    "DELETE FROM calls WHERE key = ? AND n = ? AND state = 'asked' AND owner = ?",
                    (entry.key, entry.n, self.run),
                )
                sql(
                    "UPDATE calls SET owner = ? "
                    "WHERE key = ? AND n = ? AND state = 'background' AND owner = ?",
                    (_NO_RUN, entry.key, entry.n, self.run),
                )

    def use_up(self, entries: Iterable[JournalEntry]) -> None:
        """What came of these answers is kept elsewhere: forget them, and count on after them.

        No later call gets one of them, in this run or another.
        """
        with self._transaction() as sql:
            for entry in entries:
                known = (entry.key, entry.n)
                sql("DELETE FROM taken WHERE run = ? AND key = ? AND n = ?", (self.run, *known))
                sql("INSERT OR IGNORE INTO taken VALUES (?, ?, ?)", (_USED_UP, *known))
                sql("DELETE FROM calls WHERE key = ? AND n = ? AND state = 'done'", known)

    def restart_counts(self) -> None:
        """Give calls from now on the answers that another process would be given."""
        with self._transaction() as sql:
            self._up_to.clear()
            sql("DELETE FROM taken WHERE run = ?", (self.run,))

    @property
    def is_there(self) -> bool:
        """Whether its files are still where they were: they may have been removed."""
        return os.path.exists(self.path) and self._owners.is_at(self.path)

    # --- batches ------------------------------------------------------------------------------

    def seal(self, row: BatchRow, lines: Iterable[tuple[str, JournalEntry]]) -> None:
        """These entries, by custom_id, are about to be sent as a batch."""
        with self._transaction(durable=True) as sql:
            self.batches.add(sql, row)
            for custom_id, entry in lines:
                sql(
                    "UPDATE calls SET state = 'batched', tag = ?, custom_id = ?, model = ? "
                    "WHERE key = ? AND n = ?",
                    (row.tag, custom_id, row.model, entry.key, entry.n),
                )

    def collected(
        self,
        tag: str,
        lines: Iterable[tuple[str, JournaledResponse]],
        free: Iterable[str] = (),
        *,
        keep_answer: bool,
    ) -> None:
        """These lines of a batch, by custom_id, were answered; ``free`` ones failed."""
        with self._transaction(durable=True) as sql:
            for custom_id, said in lines:
                sql(
                    "UPDATE calls SET state = 'done', lane = ?, status = ?, request_id = ?, "
                    "digest = ?, answer = ?, at = ? WHERE tag = ? AND custom_id = ?",
                    (
                        said.lane,
                        said.status,
                        said.request_id,
                        digest_of(said.body),
                        packed(said.body) if keep_answer else None,
                        self._wall(),
                        tag,
                        custom_id,
                    ),
                )
            for custom_id in free:
                sql("DELETE FROM calls WHERE tag = ? AND custom_id = ?", (tag, custom_id))

    def unfinished(self, tag: str) -> None:
        """What has no answer in a batch by now will not get one there: it is free again."""
        with self._transaction() as sql:
            sql("DELETE FROM calls WHERE tag = ? AND state = 'batched'", (tag,))

    def gone(self, tag: str) -> None:
        """A batch was never created, or cannot be found any more: its lines are free again."""
        with self._transaction() as sql:
            sql("DELETE FROM calls WHERE tag = ? AND answer IS NULL", (tag,))
            sql("DELETE FROM batches WHERE tag = ?", (tag,))

    # --- for people ---------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """How many calls are ``asked``, ``batched``, in the ``background`` and ``done``."""
        with self._transaction() as sql:
            return reading.counts(sql)

    def export(self, out: IO[str]) -> int:
        """Write what was answered as JSONL: ``key``, ``n``, ``model``, ``lane``, ``status``,
        ``request_id``, ``at`` (seconds since the epoch), ``digest`` (BLAKE2b of the answer's JSON,
        16 bytes), ``answer`` (None where it was left out).

        Calls may go on meanwhile; those that begin then are not in it.

        Returns:
            The lines written.

        Raises:
            JournalError: it cannot be read.
        """
        with reading.JournalReader(self.path) as reader:
            return reader.export(out)

    def forget(self, *, older_than: float = 0.0) -> int:
        """Forget answers, for good, and give the disk its space back. BatchTable on their way stay.

        Args:
            older_than: seconds since they were answered; 0: all.

        Returns:
            How many were forgotten.

        Raises:
            ValueError: ``older_than`` is less than 0.
            JournalError: it cannot be written; or it was, and the file could not be made smaller.
        """
        if not older_than >= 0:
            raise ValueError(f"older_than={older_than}: seconds, 0 or more")
        with self._transaction() as sql:
            gone = sql(
                "DELETE FROM calls WHERE state = 'done' AND at <= ?", (self._wall() - older_than,)
            ).rowcount
            sql(
                "DELETE FROM batches WHERE tag NOT IN "
                "(SELECT tag FROM calls WHERE tag IS NOT NULL) AND (output_file_id IS NOT NULL "
                "OR status IN ('completed', 'failed', 'expired', 'cancelled'))"
            )
        self._shrink()
        return int(gone)

    def _shrink(self) -> None:
        """Rewrite the file, so that nothing of what was deleted is left, in the log neither."""
        with self._lock:
            try:
                self._connection.execute("VACUUM")
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            except sqlite3.Error as error:
                raise JournalError(
                    f"the answers are forgotten, but the journal {self.path} keeps its size until "
                    f"it can be rewritten: {error}"
                ) from error

    def close(self) -> None:
        """Close the file. What was being asked is free for the next who asks it."""
        with self._lock:
            with self._transaction() as sql:
                self._end_run(sql, self.run)
            self._connection.close()
            self._owners.end(self.run)

    def __repr__(self) -> str:
        return f"<Journal {self.path}>"


# One for each file and process: the locks show which process is alive, not which object.
_OPEN: dict[str, Journal] = {}
_OPENING = threading.Lock()
_INHERITED: list[Journal] = []


def journal_at(path: str) -> Journal:
    """The journal of this process at a path, which is opened when it is first asked for."""
    real = os.path.realpath(path)
    journal = _OPEN.get(real)
    if journal is None:
        with _OPENING:
            journal = _OPEN.get(real)
            if journal is None:
                journal = _OPEN[real] = Journal(real)
    return journal


def begin_again(path: str) -> None:
    """This process starts a piece of work again: as if it were another one, to the journal."""
    real = os.path.realpath(path)
    with _OPENING:
        journal = _OPEN.get(real)
        if journal is not None and not journal.is_there:
            del _OPEN[real]  # the next call makes a new one
            return
    if journal is not None:
        journal.restart_counts()


def _forget_all() -> None:
    """A child must not use its parent's connections, and not close them either."""
    global _OPENING
    _OPENING = threading.Lock()
    _INHERITED.extend(_OPEN.values())
    _OPEN.clear()


after_fork_in_child(_forget_all)
