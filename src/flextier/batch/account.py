"""What the batches of one account share: their workers, the Batch API and its limits."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from flextier.batch.api import BatchAPI
from flextier.batch.fan_out import FanOut
from flextier.batch.pending_calls import GroupKey
from flextier.batch.spool_file import MAX_BYTES
from flextier.batch.submit import EnqueueLimit

if TYPE_CHECKING:
    from flextier.batch.worker import BatchWorker


class AccountBatches:
    """What the batches of one account share: their workers, the Batch API and its limits.

    ``lock`` guards it, and all calls that wait. Only :meth:`api` and :meth:`wake_all` acquire it.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.by_tag: dict[str, BatchWorker] = {}
        """The workers whose batch has not ended."""
        self.open: dict[GroupKey, list[BatchWorker]] = {}
        """The workers whose batch a call may join."""
        self.max_bytes = MAX_BYTES
        """The largest input file."""
        self._limits: dict[str, EnqueueLimit] = {}
        self._fan_outs: dict[tuple[str, str], FanOut] = {}
        self._api: BatchAPI | None = None

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
        """The limit of enqueued tokens of a model."""
        return self._limits.setdefault(model, EnqueueLimit())

    def too_large(self, size: int) -> None:
        """Make later files smaller: one of ``size`` bytes was rejected."""
        self.max_bytes = min(self.max_bytes, max(1, size * 3 // 5))

    def add(self, worker: BatchWorker) -> None:
        """Add the worker of a new batch."""
        self._fan_out(worker.group).batch_begins(worker.calls, worker.group.clock.now())
        self.by_tag[worker.tag] = worker

    def _fan_out(self, group: GroupKey) -> FanOut:
        return self._fan_outs.setdefault((group.endpoint, group.model), FanOut())

    def remove(self, worker: BatchWorker) -> None:
        """Remove a worker whose batch has ended."""
        self._fan_out(worker.group).batch_ended(worker.calls, worker.group.clock.now())
        self.enqueue_limit(worker.group.model).remove(worker)
        if self.by_tag.get(worker.tag) is worker:
            del self.by_tag[worker.tag]
        workers = self.open.get(worker.group, [])
        if worker in workers:
            workers.remove(worker)
        if not workers:
            self.open.pop(worker.group, None)
