"""LedgerWriter: queues records and writes them in order on its own thread."""

from __future__ import annotations

import atexit
import logging
import os
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from itertools import islice
from typing import Any
from uuid import uuid4
from weakref import WeakSet

from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from flextier._utils.fork import after_fork_in_child
from flextier._utils.safe_warn import safe_warn
from flextier.costs.records import CallRecord
from flextier.ledger.errors import LedgerError, LedgerWarning
from flextier.ledger.rows import microseconds, row_of
from flextier.ledger.sessions import HEARTBEAT
from flextier.ledger.store import LedgerStore, driver_message

BATCH = 1000
"""Maximum number of records in one transaction."""

_FIRST_BACKOFF, _MAX_BACKOFF = 0.1, 10.0  # seconds between attempts to write
_EXIT_TIMEOUT = 5.0  # seconds that the end of a process waits for its ledgers
_RETRYABLE = (SQLAlchemyError, OSError, LedgerError)
"""The database cannot be written now; the write is retried."""
_INVALID = (ArithmeticError, AttributeError, TypeError, ValueError, DataError, IntegrityError)
"""The object is not a record, or the database rejects it; a retry would fail, too."""

_log = logging.getLogger("flextier")


class LedgerWriter:
    """A queue of records and the thread that writes them; the first record starts it."""

    def __init__(self, store: LedgerStore, *, flush_every: float, queue_limit: int) -> None:
        self._store = store
        self._flush_every = flush_every
        self._limit = queue_limit
        self._closing = False
        self._warned = False
        self._reset()
        _WRITERS.add(self)

    def _reset(self) -> None:
        """Empty the queue, in a new writer or in a forked child, which has no thread."""
        # Re-entrant: garbage collection within add() may end a call, whose record is added, too.
        self._changed = threading.Condition(threading.RLock())
        self._queue: deque[CallRecord] = deque()
        self._thread: threading.Thread | None = None
        self._close_deadline = float("inf")  # on the monotonic clock
        self._flush_target = 0  # the value of _done that flush() waits for
        self._added = self._done = 0  # records; done: written or lost
        self.lost = 0
        """Number of records that were dropped."""
        self._flush_requests = self._failures = 0
        self._session: dict[str, Any] | None = None

    def add(self, record: CallRecord) -> bool:
        """Queue a record; False: it is lost. Never waits for the database, never raises."""
        with self._changed:
            if not self._closing and len(self._queue) < self._limit:
                self._queue.append(record)
                self._added += 1
                if self._thread is None or not self._thread.is_alive():
                    self._start_thread()
                elif len(self._queue) in (1, BATCH):
                    self._changed.notify_all()
                return True
            self.lost += 1
        self._warn("it is closed" if self._closing else f"the queue of {self._limit:,} is full")
        return False

    def add_all(self, records: Iterable[CallRecord]) -> None:
        """Queue records and flush; waits whenever the queue is full.

        Raises:
            LedgerError: the ledger cannot be written now, or not all of them.
        """
        lost = self.lost
        for record in records:
            if len(self._queue) >= self._limit:
                self._flush_or_raise()
            self.add(record)
        self._flush_or_raise()
        if self.lost > lost:
            raise LedgerError(f"{self._store.address.shown}: {self.lost - lost} records were lost")

    def _flush_or_raise(self) -> None:
        if not self.flush() and self._queue:
            shown = self._store.address.shown
            raise LedgerError(f"{shown} cannot be written: {self.pending:,} records wait")

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until the records added so far are written; whether all of them are."""
        with self._changed:
            target, failures, lost = self._added, self._failures, self.lost
            self._flush_target = max(self._flush_target, target)
            self._request_flush()

            def is_over() -> bool:
                failed = timeout is None and self._failures > failures
                return self._done >= target or failed or self._thread is None

            self._changed.wait_for(is_over, timeout)
            return self._done >= target and self.lost == lost

    def close(self, timeout: float) -> bool:
        """Write the queued records within ``timeout`` seconds; whether none of them was lost."""
        lost = self.lost
        self.begin_close(timeout)
        thread = self._thread
        if thread is None:
            self._run()
        elif thread is not threading.current_thread():
            thread.join(timeout + 1.0)
        return self.lost == lost and not self._queue

    def begin_close(self, timeout: float) -> None:
        """Like :meth:`close`, without waiting for the thread."""
        with self._changed:
            if not self._closing:
                self._closing = True
                self._close_deadline = time.monotonic() + timeout
            self._request_flush()

    @property
    def pending(self) -> int:
        """Number of queued records."""
        return len(self._queue)

    def after_fork(self, child: bool) -> None:
        """Allow connections again; a child drops the queue, which its parent writes."""
        self._store.after_fork(child)
        if child:
            self._reset()

    def _request_flush(self) -> None:
        if self._queue and self._thread is None and not self._closing:
            self._start_thread()
        self._flush_requests += 1
        self._changed.notify_all()

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._run, name="flextier-ledger", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no more threads: the next add() or close() retries
            self._thread = None
            self._warn(str(error))
            return
        self._thread = thread
        _register_multiprocessing_exit()

    def _run(self) -> None:
        try:
            self._write_queue()
        finally:
            with self._changed:
                self._failures += 1  # ends every flush()
                self._changed.notify_all()

    def _write_queue(self) -> None:
        backoff = _FIRST_BACKOFF
        while self._wait_for_work():
            with self._changed:
                batch = list(islice(self._queue, BATCH))
            try:
                self._write_batch(batch)
            except _RETRYABLE as error:
                if not self._wait_to_retry(error, backoff):
                    break
                backoff = min(backoff * 2, _MAX_BACKOFF)
            else:
                backoff = _FIRST_BACKOFF
        self._finish()

    def _wait_for_work(self) -> bool:
        """Wait until a batch or a heartbeat is due; False: the writer is closed and has none."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._queue or self._closing, HEARTBEAT):
                return True
            self._changed.wait_for(self._is_batch_due, self._flush_every)
            return bool(self._queue)

    def _is_batch_due(self) -> bool:
        requested = self._closing or self._flush_target > self._done
        # The first record is written at once, so that the session of a killed process is known.
        return requested or self._session is None or len(self._queue) >= BATCH

    def _write_batch(self, batch: Sequence[CallRecord]) -> None:
        try:
            self._store.write([row_of(record) for record in batch], self._session_row(len(batch)))
        except _INVALID as error:
            if len(batch) == 1:
                self._dequeue(1, lost=1)
                self._warn(f"a record is invalid: {driver_message(error)}")
            else:
                for record in batch:
                    self._write_batch([record])
        else:
            self._dequeue(len(batch))

    def _dequeue(self, count: int, lost: int = 0) -> None:
        with self._changed:
            for _ in range(count):
                self._queue.popleft()
            self._done += count
            self.lost += lost
            if self._session is not None:
                self._session["written"] += count - lost
            self._changed.notify_all()

    def _session_row(self, count: int) -> dict[str, Any]:
        """The session's row after ``count`` more records are written."""
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
        return {**self._session, "seen_us": now, "written": written, "lost": self.lost}

    def _wait_to_retry(self, error: Exception, backoff: float) -> bool:
        """Wait until the backoff is over or a flush is requested; False: the writer gives up."""
        self._warn(self._store.address.redacted(driver_message(error)))
        with self._changed:
            requests = self._flush_requests
            self._failures += 1
            self._changed.notify_all()
            left = self._close_deadline - time.monotonic()
            if left <= 0 or (self._closing and not self._store.is_open):
                return False  # a ledger that could never be opened does not delay the exit
            self._changed.wait_for(lambda: self._flush_requests > requests, min(backoff, left))
        return True

    def _finish(self) -> None:
        """Drop the records that could not be written, and end the session."""
        with self._changed:
            dropped = len(self._queue)
            self._queue.clear()
            self._done += dropped
            self.lost += dropped
        if dropped:
            _log.error("%s: %d records were lost", self._store.address.shown, dropped)
        elif self._session is not None:
            try:
                self._store.write([], {**self._session_row(0), "ended_us": _now()})
            except _RETRYABLE as error:
                self._warn(self._store.address.redacted(driver_message(error)))
        self._store.close()

    def _warn(self, reason: str) -> None:
        if self._warned:
            return
        self._warned = True
        message = (
            f"the ledger {self._store.address.shown} cannot be written: {reason}. Calls continue; "
            f"{self.pending:,} records wait and {self.lost:,} are lost so far (reported once: "
            "see Ledger.pending and Ledger.lost)"
        )
        safe_warn(message, LedgerWarning)


def _now() -> int:
    return microseconds(datetime.now(timezone.utc))


_WRITERS: WeakSet[LedgerWriter] = WeakSet()
_forking: list[LedgerWriter] = []
_registered: set[int] = set()


def _before_fork() -> None:
    _forking[:] = list(_WRITERS)
    for writer in _forking:
        writer._store.before_fork()


def _after_fork(child: bool) -> None:
    for writer in _forking:
        writer.after_fork(child)
    _forking.clear()


def _close_all() -> None:
    writers = [writer for writer in _WRITERS if writer._thread is not None or writer.pending]
    for writer in writers:
        writer.begin_close(_EXIT_TIMEOUT)
    for writer in writers:
        writer.close(_EXIT_TIMEOUT)


def _register_multiprocessing_exit() -> None:
    """Close this process's writers at its end, also in a child of multiprocessing.

    Such a child ends without ``atexit``, and drops the finalizers of its parent.
    """
    util = sys.modules.get("multiprocessing.util")
    if util is not None and os.getpid() not in _registered:
        _registered.add(os.getpid())
        util.Finalize(None, _close_all, exitpriority=100)


after_fork_in_child(
    lambda: _after_fork(child=True),
    before=_before_fork,
    after_in_parent=lambda: _after_fork(child=False),
)
atexit.register(_close_all)
