"""Journal: the calls of this program, where each was sent, and the responses."""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable, Iterable
from typing import IO, Any

from flextier._utils.durations import Duration, named_seconds
from flextier.journal.batches import BatchRow, BatchTable
from flextier.journal.journal_file import JournalFile
from flextier.journal.reader import JournalReader
from flextier.journal.records import (
    AcceptedResponse,
    BatchPlace,
    JournaledResponse,
    JournalEntry,
    digest_of,
)

_USED_UP = 0
"""Owns the numbers whose responses are used up, permanently. The runs of programs begin at 1."""

_NO_RUN = 0
"""Owns background responses that no call waits for now; it is never alive."""

_HELD = ("ours", "background")
"""The states of an entry that one call holds."""

_SHORT = 8192
"""Bytes of a response up to which zlib gets a small window: setting up its own takes 60 µs."""

_MANY = 16
"""From this number on, the next free number of a key is kept in memory."""


class Journal(JournalFile):
    """A SQLite file of calls and their responses. Threads and processes may share it.

    An entry is written before its request is sent, a response before the caller gets it. A program
    that is killed and started again gets the stored responses, finds its batches, and sends only
    the rest. The file, and SQLite's files next to it, can be read by its owner only.

    The cache key of a call is its base URL, endpoint, body (without the service tier, and whether
    it is streamed) and namespace.

    Example::

        FlexPolicy(journal="nightly.db", journal_namespace="2026-11-22")
        Journal("nightly.db").forget(older_than=30 * 86_400)
    """

    def __init__(self, path: str | os.PathLike[str], *, wall: Callable[[], float] = time.time):
        """Open a journal; create it if there is none.

        Args:
            path: the file.
            wall: the clock, in seconds since the epoch; for tests.

        Raises:
            JournalError: it cannot be opened, or belongs to another program.
            NewerJournalError: a newer flextier wrote it.
        """
        super().__init__(path, wall)
        self._next_numbers: dict[bytes, int] = {}  # of frequent keys: all numbers below are taken
        self.unclaimed: set[BatchPlace] = set()
        """Lines that were collected with their batch here, before any call asked for them."""
        self.open_streams: set[tuple[bytes, int]] = set()
        """The entries whose callers are reading a stream. No call of this process waits for one:
        the same caller might make it before reading on."""
        self.batches = BatchTable(self._transaction, self._owners, self.run)
        """The table of batches."""

    # --- the entry of a call ------------------------------------------------------------------

    def take(self, key: bytes, *, once: bool = False, ttl: float | None = None) -> JournalEntry:
        """The entry of a call that begins now, by its cache key.

        With ``once`` all calls with this key share one entry; else each call of this run has its
        own, the first one that of the first call of an earlier run, and so on. Responses count for
        ``ttl`` seconds; None: without end.
        """
        with self._transaction() as sql:
            n = 1 if once else self._next_number(sql, key)
            sql("INSERT OR IGNORE INTO taken VALUES (?, ?, ?)", (self.run, key, n))
            return self._claim(sql, key, n, ttl)

    def _next_number(self, sql: Any, key: bytes) -> int:
        n = self._next_numbers.get(key, 1)
        rows = sql(
            "SELECT DISTINCT n FROM taken WHERE run IN (?, ?) AND key = ? AND n >= ? ORDER BY n",
            (_USED_UP, self.run, key, n),
        )
        for (taken,) in rows:
            if taken != n:
                break
            n += 1
        if n >= _MANY:
            self._next_numbers[key] = n
        return n

    def claim(self, entry: JournalEntry, *, ttl: float | None = None) -> JournalEntry:
        """The entry as it is now; if no call has claimed it, this one does."""
        with self._transaction() as sql:
            return self._claim(sql, entry.key, entry.n, ttl, entry.state in _HELD)

    def _claim(
        self, sql: Any, key: bytes, n: int, ttl: float | None, is_held: bool = False
    ) -> JournalEntry:
        inserted = sql(
            "INSERT OR IGNORE INTO calls (key, n, state, owner) VALUES (?, ?, 'asked', ?)",
            (key, n, self.run),
        )
        if inserted.rowcount:
            return JournalEntry(key, n, "ours")
        row = sql(
            "SELECT id, state, owner, tag, custom_id, lane, status, request_id, answer, at, "
            "response_id FROM calls WHERE key = ? AND n = ?",
            (key, n),
        ).fetchone()
        call, state, owner, tag, custom_id, lane, status, request_id, answer, at, response = row
        place = None if tag is None else BatchPlace(tag, custom_id)
        accepted = None if response is None else AcceptedResponse(response, lane)
        if state == "batched":
            return JournalEntry(key, n, "batched", place)
        is_ours = owner == self.run and (is_held or (key, n) in self.open_streams)
        if state == "asked" and is_ours:
            return JournalEntry(key, n, "ours")  # its line was never sent, or a stream is open
        if state in ("asked", "background") and not is_ours and self._owners.alive(owner):
            return JournalEntry(key, n, "busy")
        if state == "background":
            sql("UPDATE calls SET owner = ? WHERE id = ?", (self.run, call))
            return JournalEntry(key, n, "background", background_response=accepted)
        if state == "done" and (ttl is None or at > self._wall() - ttl):
            if answer is not None:
                stored = JournaledResponse(lane, status, request_id, zlib.decompress(answer))
                return JournalEntry(key, n, "done", place, stored)
            if place is not None and self.batches.has_output(sql, place.tag):
                return JournalEntry(key, n, "batched", place, fetched_again=True)
            if accepted is not None:
                return JournalEntry(
                    key, n, "background", fetched_again=True, background_response=accepted
                )
        sql(
            "UPDATE calls SET state = 'asked', owner = ?, tag = NULL, custom_id = NULL, "
            "answer = NULL, response_id = NULL WHERE id = ?",
            (self.run, call),
        )
        return JournalEntry(key, n, "ours")

    def accepted(self, entry: JournalEntry, model: str, response: AcceptedResponse) -> None:
        """Record that the call is a background response now."""
        with self._transaction() as sql:
            self._put(
                sql,
                entry,
                state="background",
                model=model,
                lane=response.lane,
                response_id=response.response_id,
                answer=None,
            )

    def discard_background(self, entry: JournalEntry) -> None:
        """Discard the call's background response: the call is sent again."""
        with self._transaction() as sql:
            sql(
                "UPDATE calls SET state = 'asked', owner = ?, response_id = NULL "
                "WHERE key = ? AND n = ? AND response_id IS NOT NULL",
                (self.run, entry.key, entry.n),
            )

    def answered(
        self, entry: JournalEntry, model: str, response: JournaledResponse, *, keep_answer: bool
    ) -> None:
        """Record the response of a call, which is paid for.

        Without ``keep_answer``, only the id of a background response is stored, to fetch it again.
        """
        accepted = None if keep_answer else entry.background_response
        response_id = None if accepted is None else accepted.response_id
        columns = {**self._stored(response, keep_answer), "response_id": response_id}
        with self._transaction() as sql:
            self._put(sql, entry, state="done", model=model, **columns)

    def _put(self, sql: Any, entry: JournalEntry, **columns: Any) -> None:
        """Write the columns of a call that is in no batch."""
        columns |= {"owner": self.run, "tag": None, "custom_id": None}
        marks = ", ".join("?" * len(columns))
        changes = ", ".join(f"{name} = excluded.{name}" for name in columns)
        sql(
            f"INSERT INTO calls (key, n, {', '.join(columns)}) VALUES (?, ?, {marks}) "
            f"ON CONFLICT (key, n) DO UPDATE SET {changes}",
            (entry.key, entry.n, *columns.values()),
        )

    def _stored(self, response: JournaledResponse, keep_answer: bool) -> dict[str, Any]:
        """The columns of a response."""
        return {
            "lane": response.lane,
            "status": response.status,
            "request_id": response.request_id,
            "digest": digest_of(response.body),
            "answer": _compressed(response.body) if keep_answer else None,
            "at": self._wall(),
        }

    def release(self, entry: JournalEntry, *, ours: bool = True) -> None:
        """End a call without a response; the next call with the same key is sent again.

        A line of a batch and a background response stay for the next call with the same key; so
        does an entry that another call of this run holds (not ``ours``).
        """
        with self._transaction() as sql:
            self._next_numbers.pop(entry.key, None)
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
        """Delete these responses, which are stored elsewhere; no later call gets one of them.

        Their numbers stay taken, in this run and all others.
        """
        with self._transaction() as sql:
            for entry in entries:
                place = (entry.key, entry.n)
                sql("DELETE FROM taken WHERE run = ? AND key = ? AND n = ?", (self.run, *place))
                sql("INSERT OR IGNORE INTO taken VALUES (?, ?, ?)", (_USED_UP, *place))
                sql("DELETE FROM calls WHERE key = ? AND n = ? AND state = 'done'", place)

    def restart_counts(self) -> None:
        """Number the calls from 1 again, as in a new process."""
        with self._transaction() as sql:
            self._next_numbers.clear()
            sql("DELETE FROM taken WHERE run = ?", (self.run,))

    @property
    def exists(self) -> bool:
        """Whether its files are still at their paths: they may have been removed."""
        return os.path.exists(self.path) and self._owners.is_at(self.path)

    # --- batches ------------------------------------------------------------------------------

    def seal(self, row: BatchRow, lines: Iterable[tuple[str, JournalEntry]]) -> None:
        """Record that these entries, by custom_id, are about to be sent as a batch."""
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
        """Record the responses of a batch's lines, by custom_id; the ``free`` lines failed."""
        with self._transaction(durable=True) as sql:
            for custom_id, response in lines:
                columns = self._stored(response, keep_answer)
                changes = ", ".join(f"{name} = ?" for name in columns)
                sql(
                    f"UPDATE calls SET state = 'done', {changes} WHERE tag = ? AND custom_id = ?",
                    (*columns.values(), tag, custom_id),
                )
            for custom_id in free:
                sql("DELETE FROM calls WHERE tag = ? AND custom_id = ?", (tag, custom_id))

    def unfinished(self, tag: str) -> None:
        """Free the lines of a batch that have no response: they will not get one there."""
        with self._transaction() as sql:
            sql("DELETE FROM calls WHERE tag = ? AND state = 'batched'", (tag,))

    def gone(self, tag: str) -> None:
        """Free the lines of a batch that was never created, or cannot be found any more."""
        with self._transaction() as sql:
            sql("DELETE FROM calls WHERE tag = ? AND answer IS NULL", (tag,))
            sql("DELETE FROM batches WHERE tag = ?", (tag,))

    # --- for people ---------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """The number of calls by state: ``asked``, ``batched``, ``background``, ``done``."""
        with JournalReader(self.path) as reader:
            return reader.counts()

    def export(self, out: IO[str]) -> int:
        """Write the stored calls as JSON lines: ``key``, ``n``, ``model``, ``lane``, ``status``,
        ``request_id``, ``at`` (seconds since the epoch), ``digest`` (16 bytes of BLAKE2b of the
        response's JSON), ``answer`` (the response; None if it is not stored).

        Calls may go on meanwhile; those that begin during the export are not in it.

        Returns:
            The number of lines.

        Raises:
            JournalError: it cannot be read.
        """
        with JournalReader(self.path) as reader:
            return reader.export(out)

    def forget(self, *, older_than: Duration = 0.0) -> int:
        """Delete responses, and shrink the file. Unfinished batches stay.

        Args:
            older_than: since they were served, in seconds or as ``"30d"``; 0: all.

        Returns:
            The number of deleted responses.

        Raises:
            ValueError: ``older_than`` is no duration, or less than 0.
            JournalError: they cannot be deleted; or they were, and the file could not be shrunk.
        """
        if (age := named_seconds("older_than", older_than)) < 0:
            raise ValueError(f"older_than={older_than}: must not be less than 0")
        with self._transaction() as sql:
            deleted = sql(
                "DELETE FROM calls WHERE state = 'done' AND at <= ?", (self._wall() - age,)
            ).rowcount
            sql(
                "DELETE FROM batches WHERE tag NOT IN "
                "(SELECT tag FROM calls WHERE tag IS NOT NULL) AND (output_file_id IS NOT NULL "
                "OR status IN ('completed', 'failed', 'expired', 'cancelled'))"
            )
        self._shrink()
        return int(deleted)

    def __repr__(self) -> str:
        return f"<Journal {self.path}>"


def _compressed(body: bytes) -> bytes:
    if len(body) > _SHORT:
        return zlib.compress(body, 1)
    packer = zlib.compressobj(1, zlib.DEFLATED, 13, 6)
    return packer.compress(body) + packer.flush()
