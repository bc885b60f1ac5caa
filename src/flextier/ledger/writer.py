"""LedgerWriter: queues records, and writes them in order on a thread of its own."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from itertools import islice
from typing import Any
from uuid import uuid4

from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from flextier._utils.safe_warn import safe_warn
from flextier.costs.records import CallRecord
from flextier.ledger import atexit_flush
from flextier.ledger.errors import LedgerError, LedgerWarning
from flextier.ledger.rows import microseconds, row_of
from flextier.ledger.sessions import HEARTBEAT
from flextier.ledger.store import LedgerStore, reason

BATCH = 1000
"""Records of one transaction, at most."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0  # seconds between attempts to write
_UNREACHABLE = (SQLAlchemyError, OSError, LedgerError)
"""The database cannot be written now: later, maybe."""
_NO_RECORD = (ArithmeticError, AttributeError, TypeError, ValueError)
"""What was added is no record, or one that makes no sense."""
_NO_ROW = (DataError, IntegrityError, OverflowError)
"""It is the record that the database does not take, now or later."""

_log = logging.getLogger("flextier")


class LedgerWriter:
    """A queue with a thread behind it, which begins with the first record."""

    def __init__(self, store: LedgerStore, *, flush_every: float, queue_limit: int) -> None:
        self._store = store
        self._flush_every = flush_every
        self._limit = queue_limit
        self._closing = False
        self._warned = False
        self._begin()

    def _begin(self) -> None:
        """Start with nothing: as a new writer, or as that of a forked child."""
        # Re-entrant: a generator that is collected while a record is added may add one, too.
        self._changed = threading.Condition(threading.RLock())
        self._queue: deque[CallRecord] = deque()
        self._thread: threading.Thread | None = None
        self._until = float("inf")  # after closing: when to give up, on the monotonic clock
        self._wanted = 0  # how many of all added records are to be written at once
        self._added = self._settled = self._lost = 0
        self._calls_to_hurry = self._failures = 0
        self._session: dict[str, Any] | None = None

    def add(self, record: CallRecord) -> None:
        """Take a record. Never waits for the database, never raises."""
        with self._changed:
            if not self._closing and len(self._queue) < self._limit:
                self._queue.append(record)
                self._added += 1
                if self._thread is None or not self._thread.is_alive():
                    self._start()
                elif len(self._queue) in (1, BATCH):
                    self._changed.notify_all()
                return
            self._lost += 1
        self._warn("it is closed" if self._closing else f"{self._limit:,} records wait already")

    def add_all(self, records: Iterable[CallRecord]) -> None:
        """Take records as fast as they can be written.

        Raises:
            LedgerError: the ledger cannot be written now, or not all of them.
        """
        lost = self._lost
        for record in records:
            if len(self._queue) >= self._limit:
                self._write_all()
            self.add(record)
        self._write_all()
        if self._lost > lost:
            raise LedgerError(f"{self._store.address.shown}: {self._lost - lost} records were lost")

    def _write_all(self) -> None:
        if not self.flush() and self._queue:
            shown = self._store.address.shown
            raise LedgerError(f"{shown} cannot be written: {self.pending:,} records wait")

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until what was added before is written; whether it is."""
        until = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            wanted, failures, lost = self._added, self._failures, self._lost
            self._wanted = max(self._wanted, wanted)
            self._hurry()

            def settled() -> bool:
                given_up = until is None and self._failures > failures
                return self._settled >= wanted or given_up or self._thread is None

            self._changed.wait_for(settled, timeout)
            return self._settled >= wanted and self._lost == lost

    def close(self, timeout: float) -> bool:
        """Write what is left, for some seconds at most; whether nothing was lost at that."""
        lost = self._lost
        self.close_soon(timeout)
        thread = self._thread
        if thread is None:
            self._run()
        elif thread is not threading.current_thread():
            thread.join(timeout + 1.0)
        return self._lost == lost and not self._queue

    def close_soon(self, timeout: float) -> None:
        """Have the thread write what is left, and end; does not wait for it."""
        with self._changed:
            if not self._closing:
                self._closing = True
                self._until = time.monotonic() + timeout
            self._hurry()

    @property
    def pending(self) -> int:
        """Records that wait to be written."""
        return len(self._queue)

    @property
    def lost(self) -> int:
        """Records that were not written and will not be."""
        return self._lost

    def before_fork(self) -> None:
        """Leave no connection open."""
        self._store.before_fork()

    def after_fork(self, child: bool) -> None:
        """Go on; a child starts empty, and leaves the parent's records to the parent."""
        self._store.after_fork(child)
        if child:
            self._begin()

    def _hurry(self) -> None:
        if self._queue and self._thread is None and not self._closing:
            self._start()
        self._calls_to_hurry += 1
        self._changed.notify_all()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="flextier-ledger", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no more threads: the next record, or close(), tries again
            self._thread = None
            self._warn(str(error))
            return
        self._thread = thread
        atexit_flush.close_at_exit(self)

    def _run(self) -> None:
        try:
            self._work()
        finally:
            with self._changed:
                self._failures += 1  # no caller waits for it any longer
                self._changed.notify_all()

    def _work(self) -> None:
        pause = _FIRST_PAUSE
        while self._wait():
            with self._changed:
                batch = list(islice(self._queue, BATCH))
            try:
                self._write(batch)
            except _UNREACHABLE as error:
                if not self._try_later(error, pause):
                    break
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                pause = _FIRST_PAUSE
        self._end()

    def _wait(self) -> bool:
        """Wait until there is a record to write or a heartbeat is due; False: the end."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._queue or self._closing, HEARTBEAT):
                return True
            self._changed.wait_for(self._is_time, self._flush_every)
            return bool(self._queue)

    def _is_time(self) -> bool:
        asked = self._closing or self._wanted > self._settled
        # The first is written at once: that a process which is killed was there is to be known.
        return asked or self._session is None or len(self._queue) >= BATCH

    def _write(self, batch: Sequence[CallRecord]) -> None:
        try:
            self._store.write([row_of(record) for record in batch], self._session_row(len(batch)))
        except (*_NO_RECORD, *_NO_ROW):
            for record in batch:
                self._write_one(record)
        else:
            self._settle(len(batch))

    def _write_one(self, record: CallRecord) -> None:
        try:
            row = row_of(record)
        except _NO_RECORD as error:
            self._leave_out(error)
            return
        try:
            self._store.write([row], self._session_row(1))
        except _NO_ROW as error:
            self._leave_out(error)
        else:
            self._settle(1)

    def _leave_out(self, error: Exception) -> None:
        self._settle(1, lost=1)
        self._warn(f"a record does not fit: {reason(error)}")

    def _settle(self, count: int, lost: int = 0) -> None:
        with self._changed:
            for _ in range(count):
                self._queue.popleft()
            self._settled += count
            self._lost += lost
            if self._session is not None:
                self._session["written"] += count - lost
            self._changed.notify_all()

    def _session_row(self, count: int) -> dict[str, Any]:
        """The session's row, as it is once ``count`` more are written."""
        now = _now()
        if self._session is None:
            self._session = {
                "id": uuid4().hex,
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "started_us": now,
                "written": 0,
            }
        written = self._session["written"] + count
        return {**self._session, "seen_us": now, "written": written, "lost": self._lost}

    def _try_later(self, error: Exception, pause: float) -> bool:
        """Wait before the next attempt, unless a flush asks for it; False: give up."""
        self._warn(self._store.address.redacted(reason(error)))
        with self._changed:
            asked = self._calls_to_hurry
            self._failures += 1
            self._changed.notify_all()
            left = self._until - time.monotonic()
            if left <= 0:
                return False
            self._changed.wait_for(lambda: self._calls_to_hurry > asked, min(pause, left))
        return True

    def _end(self) -> None:
        """Close the session; what could not be written is lost now."""
        with self._changed:
            left = len(self._queue)
            self._queue.clear()
            self._settled += left
            self._lost += left
        if left:
            _log.error("%s: %d records were lost", self._store.address.shown, left)
        if self._session is not None and not left:
            try:
                self._store.write([], {**self._session_row(0), "ended_us": _now()})
            except _UNREACHABLE as error:
                self._warn(self._store.address.redacted(reason(error)))
        self._store.let_go()

    def _warn(self, why: str) -> None:
        if self._warned:
            return
        self._warned = True
        message = (
            f"the ledger {self._store.address.shown} cannot be written: {why}. Calls go on; "
            f"{self.pending:,} records wait and {self.lost:,} are lost so far (reported once: "
            "see Ledger.pending and Ledger.lost)"
        )
        safe_warn(message, LedgerWarning)


def _now() -> int:
    return microseconds(datetime.now(timezone.utc))
