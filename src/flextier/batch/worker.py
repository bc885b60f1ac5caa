"""The thread of one batch: gathers lines, submits them, polls, and collects the results."""

from __future__ import annotations

import threading
from collections.abc import Collection
from contextlib import suppress
from typing import TYPE_CHECKING

from flextier._openai import public_names as openai
from flextier._openai.public_names import Batch
from flextier._utils.formatting import count, seconds
from flextier._utils.wakeup import ThreadWait
from flextier.batch.api import TAG, TERMINAL, files_are_missing
from flextier.batch.api_errors import is_enqueue_limit, surely_not_processed, validation_failures
from flextier.batch.collect import collect_results, record
from flextier.batch.failed_outcomes import (
    detached,
    failed_batch,
    invalid_file,
    invalid_line,
    unknown_result,
)
from flextier.batch.future import BatchFuture, LineOutcome, error_response, raised, resubmit
from flextier.batch.pending_calls import GroupKey, PendingCalls, Wakes, wake_all
from flextier.batch.retrying_api import RetryingBatchAPI, growing_interval
from flextier.batch.spool_file import SpoolFile
from flextier.batch.submit import CLOCK_SKEW, BatchSubmission
from flextier.errors import BatchUnfinished
from flextier.journal.batches import BatchRow
from flextier.lanes import EXECUTIONS
from flextier.lanes.batch import LINE_ERROR

if TYPE_CHECKING:
    from flextier.batch.manager import BatchManager

_MAX_REPAIRS = 3
"""How often a file is sent again without the lines that failed validation."""

_MAX_CANCELS = 5
"""Attempts to cancel a batch that no call waits for."""

_MAX_FILE_POLLS = 5
"""Polls of an ended batch that does not name its files yet."""

_MAX_LIMIT_REFUSALS = 3
"""Refusals for the enqueued-token limit, with no other batch of ours, until a file is split."""


class BatchFinished(Exception):
    """The batch needs no more work here; its calls have their outcome."""


class BatchWorker:
    """A batch and its waiting calls."""

    def __init__(
        self, manager: BatchManager, group: GroupKey, tag: str, *, is_new: bool = True
    ) -> None:
        self.group, self.tag = group, tag
        self._wait = ThreadWait()
        self._wait.prepare()
        self.calls = PendingCalls(manager.lock, group.clock, self.wake, open=is_new)
        self.ended = False
        """Whether no call can wait here any more."""
        self.thread = threading.Thread(target=self._run, name=f"flextier-batch-{tag}", daemon=True)
        self._manager, self._lock = manager, manager.lock
        self._clock, self._journal = group.clock, group.journal
        self._requests = RetryingBatchAPI(manager.api, group, self._pause, self._check_deadlines)
        self._submission = BatchSubmission(
            group.endpoint, {TAG: tag}, self._pause, self._requests.list_delay
        )
        self._file_id: str | None = None
        self._batch: Batch | None = None
        self._journaled = not is_new
        self._repairs = self._limit_refusals = 0

    # --- for the manager, which holds the lock ---------------------------------------------------

    def join(self, future: BatchFuture) -> bool:
        """Add a call to a line that was sent before; False: the worker has ended."""
        if not self.ended:
            self.calls.add_waiter(future)
        return not self.ended

    def detach(self) -> Wakes:
        """Detach all calls if a journal has the batch; return what wakes them."""
        if self._journal is None:
            return []
        wakes = self.calls.settle(None, raised(detached))
        self.calls.close()
        return wakes

    @property
    def is_submitted(self) -> bool:
        """Whether the batch is created and, when last polled, had not ended."""
        return self._batch is not None and self._batch.status not in TERMINAL

    def wake(self) -> None:
        """Wake the thread."""
        self._wait.wake()

    # --- for its requests ---------------------------------------------------------------------

    def _pause(self, seconds: float) -> None:
        """Sleep, unless woken."""
        if seconds > 0:
            self._clock.pause(self._wait, seconds)
            with self._lock:
                self._wait.prepare()

    def _check_deadlines(self) -> None:
        """Finish if no call has time to wait; a created batch is polled in any case."""
        with self._lock:
            if self._batch is not None or not (self.calls.is_empty or self.calls.is_overdue):
                return
        if self._submission.maybe_created:
            self.calls.settle_and_wake(unknown_result(None))
            raise BatchFinished
        if self._journaled:
            record(self._journal, lambda journal: journal.gone(self.tag))
        self.calls.settle_and_wake(self._unfinished("deadline"))
        raise BatchFinished

    # --- the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with suppress(BatchFinished):
                self._work()
        except Exception as error:  # noqa: BLE001 - the waiting calls get the error
            self._fail(error)
        finally:
            with self._lock:
                self.ended, self.calls.open = True, False
                wakes = self.calls.settle(None, resubmit)
                self._manager.remove(self)
            wake_all(wakes)
            if self.calls.spool is not None:
                self.calls.spool.close()

    def _work(self) -> None:
        self._gather()
        self._seal()
        self._submit_and_collect()

    def _gather(self) -> None:
        """Wait for lines until the window is over, or the file is full."""
        until = self._clock.now() + self.group.policy.batch_window
        while self.calls.open:
            with self._lock:
                left = min(until, self.calls.earliest_cancel) - self._clock.now()
                if left <= 0 or self.calls.is_empty:
                    self.calls.open = False
                    return
            self._pause(left)

    def _seal(self) -> None:
        """Fix which lines are sent, and write that to the journal before sending."""
        with self._lock:
            if self.calls.is_empty:
                raise BatchFinished
            self.calls.compact()
            futures = self.calls.futures
        policy = self.group.policy
        # Where batch is the last lane, calls that are too few have no other lane.
        if len(futures) < policy.batch_min_calls and EXECUTIONS.get(policy.lanes[-1]) != "batch":
            self.calls.settle_and_wake(self._unfinished("alone"))
            raise BatchFinished
        if self._journal is not None:
            group, run, now = self.group, self._journal.run, self._clock.wall()
            names = self.tag, group.base_url, group.endpoint, group.model
            row = BatchRow(*names, len(futures), run, now)
            self._journal.seal(row, [(t.custom_id, t.entry) for t in futures if t.entry])
        self._journaled = True

    def _submit_and_collect(self) -> None:
        while True:
            batch = self._submit()
            if batch is None:
                continue
            batch = self._poll_until_ended(batch)
            if batch.status != "failed":
                collect_results(batch, self.tag, self._requests, self.group, self.calls)
                self.calls.settle_and_wake(self._unfinished(batch.status))
                return
            self._drop_invalid_lines(batch)

    @property
    def _spool(self) -> SpoolFile:
        assert self.calls.spool is not None
        return self.calls.spool

    def _submit(self) -> Batch | None:
        """Upload the file and create the batch; None: over the enqueued-token limit, retry."""
        self._wait_for_enqueue_limit()
        spool, patience = self._spool, self.group.policy.patience_seconds
        try:
            if self._file_id is None:
                until = self._clock.now() + patience
                self._file_id = self._requests.retry(
                    lambda api: self._submission.upload(api, spool.file), until
                )
                self._update_journal(file_id=self._file_id)
                self._check_deadlines()
            file_id, since = self._file_id, self._clock.wall() - CLOCK_SKEW
            until = self._clock.now() + patience
            batch = self._requests.retry(
                lambda api: self._submission.create(api, file_id, since), until
            )
        except openai.APIStatusError as error:
            if is_enqueue_limit(error.code, error.message):
                self._limit_refused(error.message)
                return None
            if error.status_code == 413 and len(self.calls.order) > 1:
                self._manager.too_large(spool.size)
                self._split()
            raise
        self._update_journal(batch_id=batch.id, status=batch.status)
        more = f", {count(spool.lines, 'line')}, {spool.size:,} bytes"
        self.group.log("submitted", batch, more)
        return batch

    def _wait_for_enqueue_limit(self) -> None:
        """Wait until the batch fits the limit of enqueued tokens."""
        while True:
            self._check_deadlines()
            with self._lock:
                if self._manager.enqueue_limit(self.group.model).admit(self, self._spool.tokens):
                    return
            self._pause(self.group.policy.batch_poll_interval)

    def _poll_until_ended(self, batch: Batch) -> Batch:
        """Poll the batch until it has ended; cancel it when a call needs that."""
        self._batch = batch
        polls, cancels, cancelled = 0, 0, False
        while batch.status not in TERMINAL:
            if not cancelled and self._must_cancel():
                self.group.log("cancelled", batch)
                cancelled = self._requests.cancel(batch.id)
                cancels += 1
                with self._lock:
                    if cancels >= _MAX_CANCELS and self.calls.is_empty:
                        raise BatchFinished
            pause = self._poll_interval(polls, cancelled)
            self.group.log("polled", batch, f", next poll in {seconds(pause)}")
            self._pause(pause)
            polls += 1
            self._batch = batch = self._requests.poll(batch)
        with self._lock:
            self._manager.enqueue_limit(self.group.model).remove(self)
        self._manager.wake_all()
        for polls in range(_MAX_FILE_POLLS):
            if not files_are_missing(batch):
                break
            self._pause(self._poll_interval(polls, cancelled))
            self._batch = batch = self._requests.poll(batch)
        self._update_journal(
            status=batch.status,
            output_file_id=batch.output_file_id or None,
            error_file_id=batch.error_file_id or None,
        )
        return batch

    def _poll_interval(self, polls: int, cancelled: bool) -> float:
        """Seconds to the next poll, or until a call needs the batch cancelled."""
        longest = self.group.policy.batch_poll_interval
        seconds = growing_interval(longest / 10, polls, longest / 4 if cancelled else longest)
        seconds *= 0.8 + 0.4 * self._clock.random()
        if cancelled:
            return seconds
        with self._lock:
            left = self.calls.earliest_cancel - self._clock.now()
        return min(seconds, left) if left > 0 else seconds

    def _must_cancel(self) -> bool:
        """Whether to cancel the batch now; without calls, one that the journal has goes on."""
        with self._lock:
            if self.calls.is_empty and self._journal is not None:
                raise BatchFinished
            return self.calls.is_empty or self.calls.is_overdue

    # --- a file that failed validation: no line of it was processed ---------------------------

    def _drop_invalid_lines(self, batch: Batch) -> None:
        """Submit the valid lines of a batch that failed validation again, and finish."""
        failures = validation_failures(batch)
        self._batch = None
        limit = next((f for f in failures if is_enqueue_limit(f.code, f.message)), None)
        if limit is not None:
            self._limit_refused(limit.message)
            return
        order = self.calls.order
        invalid = {order[f.line - 1]: f for f in failures if f.line and 0 < f.line <= len(order)}
        self._repairs += 1
        if invalid and len(invalid) < len(order) and self._repairs <= _MAX_REPAIRS:
            self._release(list(invalid), keep_answer=True)
            for custom_id, failure in invalid.items():
                self.calls.settle_and_wake(invalid_line(failure), (custom_id,))
            self._restart([self._futures()])
        record(self._journal, lambda journal: journal.unfinished(self.tag))
        outcome = invalid_file(failures, invalid)
        if outcome is None:
            why = "; ".join(f"{f.code}: {f.message}" for f in failures)
            outcome = self._unfinished(batch.status, why, batch.id)
        self.calls.settle_and_wake(outcome)
        raise BatchFinished

    def _limit_refused(self, message: str) -> None:
        """After a refusal for the enqueued-token limit: wait, or split the file."""
        with self._lock:
            enqueue_limit = self._manager.enqueue_limit(self.group.model)
            alone = enqueue_limit.refused(self, message)
            limit = enqueue_limit.limit
        self._update_journal(batch_id=None)
        if not alone:
            return
        self._limit_refusals += 1
        exceeds = self._spool.tokens > limit
        if len(self.calls.order) > 1 and (exceeds or self._limit_refusals >= _MAX_LIMIT_REFUSALS):
            self._split()
        if exceeds:
            record(self._journal, lambda journal: journal.gone(self.tag))
            self.calls.settle_and_wake(error_response(LINE_ERROR, "token_limit_exceeded", message))
            raise BatchFinished
        self._pause(
            self.group.policy.batch_poll_interval * min(2 ** (self._limit_refusals - 1), 10)
        )

    def _futures(self) -> list[BatchFuture]:
        with self._lock:
            return self.calls.futures

    def _split(self) -> None:
        """Submit the lines as two smaller batches, and finish."""
        futures = self._futures()
        half = (len(futures) + 1) // 2
        self._restart([futures[:half], futures[half:]])

    def _restart(self, parts: list[list[BatchFuture]]) -> None:
        """Submit the lines as new batches, one for each part of the calls, and finish."""
        for part in parts:
            with self._lock:
                worker = self._manager.new_worker(self.group)
                worker.calls.open = False
                worker._repairs = self._repairs
                try:
                    worker.calls.take_over(self.calls, part)
                finally:  # on a full disk, the other calls stay here
                    worker.thread.start()
        raise BatchFinished

    # --- ends ---------------------------------------------------------------------------------

    def _update_journal(self, **fields: str | None) -> None:
        record(self._journal, lambda journal: journal.batches.note(self.tag, **fields))

    def _release(self, lines: Collection[str], *, keep_answer: bool) -> None:
        """Note in the journal that these lines have no response."""
        record(self._journal, lambda j: j.collected(self.tag, (), lines, keep_answer=keep_answer))

    def _fail(self, error: Exception) -> None:
        """End the batch with an error: each waiting call gets its own copy."""
        maybe_created = self._batch is not None or self._submission.maybe_created
        if self._journaled and not maybe_created and surely_not_processed(error):
            record(self._journal, lambda journal: journal.gone(self.tag))
        outcome = failed_batch(error, maybe_created=maybe_created)
        self.calls.settle_and_wake(outcome)

    def _unfinished(self, status: str, why: str = "", batch_id: str | None = None) -> LineOutcome:
        """The outcome of calls without a response: ``status`` is the batch's, ``"alone"`` if too
        few calls joined, ``"deadline"`` if time is up; ``why`` the batch's own error."""
        policy = self.group.policy
        if self._batch is not None:
            batch_id = self._batch.id
        batch = "a batch that is not created yet" if batch_id is None else f"batch {batch_id}"
        message = f"{batch}: {status}{f' ({why})' if why else ''}, without a response to it"
        if status == "alone":
            message = (
                "fewer calls than batch_min_calls (FLEXTIER_BATCH_MIN_CALLS), "
                f"{policy.batch_min_calls}, joined within batch_window (FLEXTIER_BATCH_WINDOW), "
                f"{policy.batch_window:g} s: no batch was made"
            )
        elif status == "deadline":
            message = f"{batch}: the wait ended to keep FlexPolicy.deadline (FLEXTIER_DEADLINE)"
        return raised(
            lambda request: BatchUnfinished(request, message, batch_id=batch_id, status=status)
        )
