"""The batches of each account in this process, and which one a call joins."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from itertools import count
from typing import Any

from flextier._utils.fork import after_fork_in_child
from flextier.background import waiters
from flextier.batch.api import BatchAPI
from flextier.batch.enqueue_limit import EnqueueLimit
from flextier.batch.future import FREE, BatchFuture, ErrorResult
from flextier.batch.group_key import GroupKey
from flextier.batch.pending_calls import wake_all
from flextier.batch.spool_file import MAX_BYTES
from flextier.batch.sync_client import sync_client_for
from flextier.batch.worker import BatchWorker
from flextier.journal.records import BatchPlace, JournalEntry
from flextier.lanes.batch import LINE_ERROR

_LEAVING = 5.0
"""Seconds that a process which ends may take to cancel batches that no journal knows."""


class BatchManager:
    """The batches of one account. Threads and event loops share it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._open: dict[GroupKey, list[BatchWorker]] = {}
        self._by_tag: dict[str, BatchWorker] = {}
        self._pacing: dict[str, EnqueueLimit] = {}
        self._max_bytes = MAX_BYTES
        self._names = os.urandom(6).hex()
        self._serial = count(1)
        self._client: Any = None
        self._bound = False
        self._api: BatchAPI | None = None

    # --- for calls ----------------------------------------------------------------------------

    def put(
        self,
        client: Any,
        terms: GroupKey,
        body: bytes,
        entry: JournalEntry | None,
        cancel_at: float,
        attempt_ends_by: float,
    ) -> BatchFuture:
        """A future for a call that joins the next batch.

        Args:
            client: the call's; the batch uses its address, account and connections.
            terms: what it has in common with the other calls of the batch.
            body: JSON.
            entry: its journal entry.
            cancel_at: time at which its batch is cancelled, on its clock.
            attempt_ends_by: time at which it stops waiting.

        Raises:
            OSError: the line cannot be written to the disk.
        """
        with self.lock:
            self._use(client)
            if len(body) > self._max_bytes:
                message = f"a line of {len(body):,} bytes is too long for a batch"
                future = BatchFuture(
                    "", entry, terms.clock, cancel_at, attempt_ends_by, None, self.lock
                )
                future.settle(ErrorResult(LINE_ERROR, "line_too_long", message))
                return future
            work = self._work_for(terms, cancel_at, len(body))
            custom_id = f"{self._names}-{next(self._serial)}"
            until = (cancel_at, attempt_ends_by)
            future = BatchFuture(custom_id, entry, terms.clock, *until, work.calls, self.lock)
            work.calls.add(future, terms.endpoint, body)
        return future

    def attach(
        self,
        client: Any,
        terms: GroupKey,
        place: BatchPlace,
        entry: JournalEntry,
        cancel_at: float,
        attempt_ends_by: float,
    ) -> BatchFuture:
        """A future for a batch line that was sent before, maybe by another process."""
        assert terms.journal is not None
        row = terms.journal.batches.get(place.tag)
        with self.lock:
            self._use(client)
            work = self._by_tag.get(place.tag)
            future = BatchFuture(
                place.custom_id, entry, terms.clock, cancel_at, attempt_ends_by, None, self.lock
            )
            if work is not None and work.join(future):
                future.move(work.calls)
                return future
            if row is None:
                terms.journal.unfinished(place.tag)
                future.settle(FREE)
                return future
            work = self._by_tag[place.tag] = BatchWorker(self, terms, place.tag, row)
            future.move(work.calls)
            work.join(future)
        work.thread.start()
        return future

    def _work_for(self, terms: GroupKey, cancel_at: float, size: int) -> BatchWorker:
        works = self._open.setdefault(terms, [])
        most = (self._max_bytes, self.pacing(terms.model).limit)
        for work in works:
            if work.calls.take(cancel_at, size, most, terms.policy.batch_window):
                return work
        works[:] = [work for work in works if work.calls.open]
        work = self.begin(terms)
        works.append(work)
        work.thread.start()
        return work

    def _use(self, client: Any) -> None:
        """Make requests with this call's client, if there is none yet or they depend on it.

        Runs in the call's thread: requests may have to use the event loop that runs there.
        """
        if self._api is None or (self._bound and self._client() is not client):
            plain, self._bound = sync_client_for(client)
            self._client = weakref.ref(client)
            self._api = BatchAPI(plain)

    # --- for workers, under the lock ----------------------------------------------------------

    def begin(self, terms: GroupKey) -> BatchWorker:
        """A worker for a new batch."""
        work = BatchWorker(self, terms, os.urandom(8).hex())
        self._by_tag[work.tag] = work
        return work

    def over(self, work: BatchWorker) -> None:
        """Remove a worker whose batch has ended."""
        self.pacing(work.terms.model).over(work)
        if self._by_tag.get(work.tag) is work:
            del self._by_tag[work.tag]
        works = self._open.get(work.terms, [])
        if work in works:
            works.remove(work)
        if not works:
            self._open.pop(work.terms, None)

    def pacing(self, model: str) -> EnqueueLimit:
        """The limit of enqueued tokens of a model."""
        return self._pacing.setdefault(model, EnqueueLimit())

    def too_large(self, size: int) -> None:
        """Make later files smaller: one of ``size`` bytes was rejected."""
        self._max_bytes = min(self._max_bytes, max(1, size * 3 // 5))

    # --- for workers, without the lock --------------------------------------------------------

    def api(self) -> BatchAPI:
        """The Batch API of this account."""
        with self.lock:
            assert self._api is not None
            return self._api

    def news(self) -> None:
        """Wake all workers: a batch that waits may fit the limit of enqueued tokens now."""
        with self.lock:
            for work in self._by_tag.values():
                work.wake()

    # --- the end ------------------------------------------------------------------------------

    def detach(self) -> int:
        """Detach all calls that a journal knows; return how many."""
        with self.lock:
            wakes = [wake for work in self._by_tag.values() for wake in work.detach()]
        wake_all(wakes)
        return len(wakes)

    def leave(self, until: float) -> None:
        """Cancel the batches that no journal knows, as the process ends."""
        with self.lock:
            lost = [work for work in self._by_tag.values() if not work.is_known]
            for work in lost:
                work.calls.abandon()
        for work in lost:
            if work.thread.is_alive():
                work.thread.join(max(0.0, until - time.monotonic()))


_MANAGERS: dict[tuple[str, str], BatchManager] = {}
_LOCK = threading.Lock()


def manager_of(base_url: str, account: str) -> BatchManager:
    """The manager of an account."""
    manager = _MANAGERS.get((base_url, account))
    if manager is None:
        with _LOCK:
            manager = _MANAGERS.setdefault((base_url, account), BatchManager())
    return manager


def detach() -> int:
    """Detach all calls of this process that wait for batches, or background responses, that a
    journal knows.

    They raise :class:`flextier.Detached`; batches and responses go on, and the same calls with the
    same journal get the answers. For programs that have to end, as after SIGTERM.

    Returns:
        The number of detached calls.
    """
    return waiters.detach() + sum(manager.detach() for manager in list(_MANAGERS.values()))


@atexit.register
def _leave() -> None:
    until = time.monotonic() + _LEAVING
    for manager in list(_MANAGERS.values()):
        manager.leave(until)


def _forget_all() -> None:
    """Start without managers: their threads run in the parent process only."""
    global _LOCK
    _LOCK = threading.Lock()
    _MANAGERS.clear()


after_fork_in_child(_forget_all)
