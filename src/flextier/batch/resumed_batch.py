"""The worker of a batch of an earlier run, or of another process, that the journal has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flextier._openai import public_names as openai
from flextier._openai.public_names import Batch
from flextier.batch.collect import collect_results
from flextier.batch.pending_calls import GroupKey
from flextier.batch.submit import CLOCK_SKEW, LIST_DELAY
from flextier.batch.worker import BatchFinished, BatchWorker
from flextier.journal.batches import BatchRow

if TYPE_CHECKING:
    from flextier.batch.manager import BatchManager


class ResumedBatch(BatchWorker):
    """Finds the batch, whatever its state, and collects its results."""

    def __init__(self, manager: BatchManager, group: GroupKey, row: BatchRow) -> None:
        super().__init__(manager, group, row.tag, is_new=False)
        assert group.journal is not None
        self._row, self._stored = row, group.journal

    def _work(self) -> None:
        batch: Batch | None = None
        found: BatchRow | None = self._row
        while found is not None:
            try:
                batch = self._find(found)
            except openai.NotFoundError:
                batch = None
            if batch is not None:
                batch = self._poll_until_ended(batch)
            if batch is None or batch.status != "failed" or self._stored.batches.adopt(self.tag):
                break
            self._pause_for_owner()  # which submits it again
            found = self._stored.batches.get(self.tag)
        if batch is None or not (batch.output_file_id or batch.error_file_id):
            self._stored.gone(self.tag)
            return  # its lines are submitted again
        waiting = {future.custom_id for future in self._futures()}
        collect_results(batch, self.tag, self._requests, self.group, self.calls)
        # A call that joined meanwhile may have missed its line, but finds it in the journal.
        lost = waiting & {future.custom_id for future in self._futures()}
        if lost:
            self._release(lost, keep_answer=self.group.policy.journal_store_responses)
        if batch.status != "completed":
            self.calls.settle_and_wake(self._unfinished(batch.status), lost)

    def _find(self, row: BatchRow) -> Batch | None:
        """The batch; None if it was never created."""
        while row.batch_id is None and not self._stored.batches.adopt(self.tag):
            self._pause_for_owner()  # which may create it
            with self._lock:
                if self.calls.is_empty or self.calls.is_overdue:
                    raise BatchFinished
            found = self._stored.batches.get(self.tag)
            if found is None:
                return None
            row = found
        if row.batch_id is not None:
            return self._requests.retrieve(row.batch_id)
        listed_at = row.sealed + LIST_DELAY
        while (left := listed_at - self._clock.wall()) > 0:
            self._pause(min(left, LIST_DELAY))
        batch = self._requests.retry(lambda api: api.find(self.tag, row.sealed - CLOCK_SKEW))
        if batch is not None:
            self._update_journal(batch_id=batch.id, status=batch.status)
        return batch

    def _pause_for_owner(self) -> None:
        """Give the process that has the batch some time."""
        self._pause(min(1.0, self.group.policy.batch_poll_interval))
