"""The batches of each account in this process, and which one a call joins."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

from flextier._openai.private_names import dumps
from flextier._utils.clock import Clock
from flextier._utils.fork import after_fork_in_child
from flextier.background import waiters
from flextier.batch.api import BatchAPI
from flextier.batch.collect import warn_unwritten
from flextier.batch.fan_out import FanOut
from flextier.batch.future import BatchFuture, error_response, resubmit
from flextier.batch.line_response import http_response
from flextier.batch.pending_calls import GroupKey, wake_all
from flextier.batch.resumed_batch import ResumedBatch
from flextier.batch.spool_file import MAX_BYTES
from flextier.batch.submit import EnqueueLimit
from flextier.batch.sync_client import sync_client_for
from flextier.batch.worker import BatchWorker
from flextier.capacity import AccountKey, LatelyUsed
from flextier.journal.call_entry import CallEntry
from flextier.lanes import CallFacts
from flextier.lanes.batch import LINE_ERROR
from flextier.planning.fallback import Ladder
from flextier.policy import FlexPolicy

_NO_LIMIT = 1e9

_EXIT_TIMEOUT = 5.0
"""Seconds that a process may take at its exit to cancel batches that no journal has."""


@dataclass(frozen=True, slots=True)
class BatchCall:
    """A call to be submitted as a batch line."""

    account: AccountKey
    facts: CallFacts
    policy: FlexPolicy
    clock: Clock
    entry: CallEntry | None
    ladder: Ladder
    """Has the times at which the batch is cancelled, and the wait ends."""

    @property
    def group(self) -> GroupKey:
        """What it must have in common with the other calls of its batch."""
        policy, min_calls = self.policy, self.ladder.lane.min_calls
        changes: dict[str, Any] = {}
        if policy.journal_namespace:  # its journal entry exists by now
            changes["journal_namespace"] = ""
        if policy.deadline is not None:  # calls leave a batch at deadlines of their own
            patience = min(policy.patience_seconds, _NO_LIMIT)
            changes |= {"deadline": None, "patience": patience}
        if min_calls > policy.batch_min_calls:
            changes["batch_min_calls"] = min_calls
        return GroupKey(
            self.account.base_url,
            f"/v1{self.facts.endpoint}",
            str(self.facts.body.get("model", "")),
            self.clock,
            policy.model_copy(update=changes) if changes else policy,
            None if self.entry is None else self.entry.journal,
        )


class BatchManager:
    """What the batches of one account share: their workers, the Batch API and its limits.

    Threads and event loops share it. Methods marked *locked* are called with the lock held.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        """Guards it, and all calls that wait."""
        self.by_tag: dict[str, BatchWorker] = {}
        """The workers whose batch has not ended."""
        self.max_bytes = MAX_BYTES
        """The largest input file."""
        self.last_used = 0.0
        self._open: dict[GroupKey, list[BatchWorker]] = {}  # whose batch a call may join
        self._limits: dict[str, EnqueueLimit] = {}
        self._fan_outs: dict[tuple[str, str], FanOut] = {}
        self._api: BatchAPI | None = None
        self._id_prefix = os.urandom(6).hex()
        self._serial = count(1)
        self._client: Any = None
        self._bound = False

    @property
    def is_busy(self) -> bool:
        """Whether a batch has not ended."""
        return bool(self.by_tag)

    def submit(self, client: Any, call: BatchCall) -> BatchFuture:
        """A future for the call, which joins the next batch, or the batch that has its line.

        The batch uses the address, account and connections of the call's ``client``. An OSError:
        the line cannot be written to the disk.
        """
        entry = call.entry
        if entry is not None:
            entry.refresh()
            if (stored := entry.answer) is not None:
                future = self._future(call)
                facts = stored.status, stored.request_id, stored.body
                future.settle(partial(http_response, *facts))
                return future
            if entry.place is not None:
                return self._attach(client, call, entry)
        return self._add(client, call)

    def _add(self, client: Any, call: BatchCall) -> BatchFuture:
        """Write the call's line to the next batch."""
        body, group = dumps(call.facts.body), call.group
        with self.lock:
            self._set_client(client)
            if len(body) > self.max_bytes:
                message = f"a line of {len(body):,} bytes is too long for a batch"
                future = self._future(call)
                future.settle(error_response(LINE_ERROR, "line_too_long", message))
                return future
            worker = self._worker_for(group, call.ladder.cancel_at, len(body))
            future = self._future(call, f"{self._id_prefix}-{next(self._serial)}")
            worker.calls.add(future, group.endpoint, body)
        return future

    def _attach(self, client: Any, call: BatchCall, entry: CallEntry) -> BatchFuture:
        """Wait for a batch line that was sent before, maybe by another process."""
        place, group = entry.place, call.group
        assert place is not None
        row = entry.journal.batches.get(place.tag)
        with self.lock:
            self._set_client(client)
            future = self._future(call, place.custom_id)
            worker = self.by_tag.get(place.tag)
            if worker is not None and worker.join(future):
                return future
            if row is None:
                journal = entry.journal
                journal.write_soon(lambda: journal.unfinished(place.tag), warn_unwritten)
                future.settle(resubmit)
                return future
            worker = self.by_tag[place.tag] = ResumedBatch(self, group, row)
            worker.join(future)
        worker.thread.start()
        return future

    def _future(self, call: BatchCall, custom_id: str = "") -> BatchFuture:
        entry, ladder = None if call.entry is None else call.entry.entry, call.ladder
        times = ladder.cancel_at, ladder.attempt_ends_by
        return BatchFuture(custom_id, entry, call.clock, *times, self.lock)

    def _worker_for(self, group: GroupKey, cancel_at: float, size: int) -> BatchWorker:
        """The worker of an open batch that the call may join, or a new one."""
        workers = self._open.setdefault(group, [])
        limits = (self.max_bytes, self.enqueue_limit(group.model).limit)
        for worker in workers:
            if worker.calls.accepts(cancel_at, size, limits, group.policy.batch_window):
                return worker
        workers[:] = [worker for worker in workers if worker.calls.open]
        worker = self.new_worker(group)
        workers.append(worker)
        worker.thread.start()
        return worker

    def _set_client(self, client: Any) -> None:
        """Make requests with this call's client, if there is none yet or they depend on it.

        Runs in the call's thread: requests may have to use the event loop that runs there.
        """
        if self._api is None or (self._bound and self._client() is not client):
            plain, self._bound = sync_client_for(client)
            self._client = weakref.ref(client)
            self._api = BatchAPI(plain)

    def api(self) -> BatchAPI:
        """The Batch API of this account."""
        with self.lock:
            assert self._api is not None
            return self._api

    def wake_all(self) -> None:
        """Wake all workers: a waiting batch may fit the limit of enqueued tokens now."""
        with self.lock:
            for worker in self.by_tag.values():
                worker.wake()

    def enqueue_limit(self, model: str) -> EnqueueLimit:
        """The limit of enqueued tokens of a model: locked."""
        return self._limits.setdefault(model, EnqueueLimit())

    def too_large(self, size: int) -> None:
        """Make later files smaller: one of ``size`` bytes was rejected."""
        self.max_bytes = min(self.max_bytes, max(1, size * 3 // 5))

    def new_worker(self, group: GroupKey) -> BatchWorker:
        """The worker of a new batch: locked."""
        worker = BatchWorker(self, group, os.urandom(8).hex())
        self._fan_out(group).batch_begins(worker.calls, group.clock.now())
        self.by_tag[worker.tag] = worker
        return worker

    def _fan_out(self, group: GroupKey) -> FanOut:
        return self._fan_outs.setdefault((group.endpoint, group.model), FanOut())

    def remove(self, worker: BatchWorker) -> None:
        """Remove a worker whose batch has ended: locked."""
        self._fan_out(worker.group).batch_ended(worker.calls, worker.group.clock.now())
        self.enqueue_limit(worker.group.model).remove(worker)
        if self.by_tag.get(worker.tag) is worker:
            del self.by_tag[worker.tag]
        workers = self._open.get(worker.group, [])
        if worker in workers:
            workers.remove(worker)
        if not workers:
            self._open.pop(worker.group, None)

    def detach(self, *, submitted: bool = False) -> int:
        """Detach all calls that a journal has; return how many."""
        with self.lock:
            workers = [x for x in self.by_tag.values() if x.is_submitted or not submitted]
            wakes = [wake for worker in workers for wake in worker.detach()]
        wake_all(wakes)
        return len(wakes)

    def cancel_unjournaled(self, until: float) -> None:
        """Cancel the batches that no journal has, as the process ends."""
        with self.lock:
            workers = [worker for worker in self.by_tag.values() if worker.group.journal is None]
            for worker in workers:
                worker.calls.abandon()
        for worker in workers:
            if worker.thread.is_alive():
                worker.thread.join(max(0.0, until - time.monotonic()))


MANAGERS = LatelyUsed[AccountKey, BatchManager](BatchManager)
after_fork_in_child(MANAGERS.reset)  # their threads run in the parent process only


def detach(*, submitted: bool = False) -> int:
    """Detach all calls of this process that wait for batches, or background responses, that a
    journal has; with ``submitted``, those whose batch or response is created and has not ended.

    They raise :class:`flextier.Detached`; batches and responses go on, and the same calls with the
    same journal get the answers. For programs that have to end, as after SIGTERM.

    Returns:
        The number of detached calls.
    """
    managers = list(MANAGERS.values())
    return waiters.detach(submitted=submitted) + sum(
        x.detach(submitted=submitted) for x in managers
    )


@atexit.register
def _cancel_at_exit() -> None:
    until = time.monotonic() + _EXIT_TIMEOUT
    for manager in list(MANAGERS.values()):
        manager.cancel_unjournaled(until)
