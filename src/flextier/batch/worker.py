"""The thread of one batch: gathers lines, submits them, polls, and collects the results."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import openai
from openai.types import Batch

from flextier._openai.compat import failure_of
from flextier._utils.wakeup import ThreadWait
from flextier.batch.api import TERMINAL, BatchAPI
from flextier.batch.api_errors import (
    NOT_HERE,
    ValidationFailure,
    again,
    detached,
    is_about_room,
    is_denied,
    refusals_of,
    surely_not_sent,
)
from flextier.batch.collect import collect_results, record
from flextier.batch.enqueue_limit import tokens_of
from flextier.batch.future import FREE, BatchFuture, ErrorResult, LineOutcome, RaisedError
from flextier.batch.group_key import GroupKey
from flextier.batch.pending_calls import PendingCalls, Wakes, wake_all
from flextier.batch.retrying_api import SETTLING, RetryingBatchAPI
from flextier.errors import BatchUnfinished
from flextier.journal.batches import BatchRow
from flextier.lanes.batch import LINE_ERROR, MODEL_ERROR

if TYPE_CHECKING:
    from flextier.batch.manager import BatchManager

_MAX_REPAIRS = 3
"""How often a file is sent again without the lines that failed validation."""

_CANCELS = 5
"""Attempts to cancel a batch that no call waits for."""

_ALONE = 3
"""Refusals for the enqueued-token limit, with no other batch of ours, until a file is split."""


class _BatchFinished(Exception):
    """The batch needs no more work here; its calls have their outcome."""


class BatchWorker:
    """A batch and its waiting calls. The manager creates it, and shares its lock with it."""

    def __init__(
        self, manager: BatchManager, terms: GroupKey, tag: str, row: BatchRow | None = None
    ) -> None:
        """Start to gather lines; with ``row``, resume a batch that the journal knows."""
        self.terms = terms
        self.tag = tag
        self._wait = ThreadWait()
        self._wait.prepare()
        self.calls = PendingCalls(manager.lock, terms.clock, self.wake, gathers=row is None)
        self.ended = False
        """Whether no call can wait here any more."""
        self.thread = threading.Thread(target=self._run, name=f"flextier-batch-{tag}", daemon=True)
        self._lock = manager.lock
        self._manager = manager
        self._row = row
        self._clock = terms.clock
        self._journal = terms.journal
        self._requests = RetryingBatchAPI(self, terms)
        self._file_id: str | None = None
        self._batch: Batch | None = None
        self._sealed = row is not None
        self._repairs = 0
        self._alone = 0

    # --- for the manager, which holds the lock ---------------------------------------------------

    def join(self, future: BatchFuture) -> bool:
        """Add a call to a line that was sent before; False: the worker has ended."""
        if not self.ended:
            self.calls.wait_for(future)
        return not self.ended

    def detach(self) -> Wakes:
        """Detach all calls if a journal knows the batch; return what wakes them."""
        if self._journal is None:
            return []
        wakes = self.calls.settle(None, RaisedError(detached))
        self.calls.close()
        return wakes

    def wake(self) -> None:
        """Wake the thread."""
        self._wait.wake()

    @property
    def is_known(self) -> bool:
        """Whether a journal knows the batch, so that a later process can resume it."""
        return self._journal is not None

    # --- for its requests ---------------------------------------------------------------------

    def api(self) -> BatchAPI:
        """The Batch API of the account."""
        return self._manager.api()

    def pause(self, seconds: float) -> None:
        """Sleep, unless woken."""
        if seconds > 0:
            self._clock.pause(self._wait, seconds)
            with self._lock:
                self._wait.prepare()

    def check_time(self) -> None:
        """Check that calls still have time to wait; a created batch is followed in any case.

        Raises:
            _BatchFinished: no call waits, or their time is up.
        """
        with self._lock:
            if self._batch is not None or not (self.calls.empty or self.calls.late):
                return
        if self._requests.unsure:
            self.calls.resolve(RaisedError(lambda request: _unknown_result(request, None)))
            raise _BatchFinished
        if self._sealed:
            record(self._journal, lambda journal: journal.gone(self.tag))
        self.calls.resolve(self._unfinished("deadline"))
        raise _BatchFinished

    # --- the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            if self._row is not None:
                self._go_on(self._row)
            else:
                self._gather()
                self._seal()
                self._send()
        except _BatchFinished:
            pass
        except Exception as error:  # noqa: BLE001 - the waiting calls get the error
            self._fail(error)
        finally:
            with self._lock:
                self.ended, self.calls.open = True, False
                left = self.calls.settle(None, FREE)
                self._manager.over(self)
            wake_all(left)
            if self.calls.spool is not None:
                self.calls.spool.close()

    def _gather(self) -> None:
        """Wait for lines until the window is over, or the file is full."""
        until = self._clock.now() + self.terms.policy.batch_window
        while self.calls.open:
            with self._lock:
                left = min(until, self.calls.earliest) - self._clock.now()
                if left <= 0 or self.calls.empty:
                    self.calls.open = False
                    return
            self.pause(left)

    def _seal(self) -> None:
        """Fix which lines are sent, and write that to the journal before sending."""
        with self._lock:
            if self.calls.empty:
                raise _BatchFinished
            self.calls.compact()
            futures = self.calls.futures
        if len(futures) < self.terms.least:
            self.calls.resolve(self._unfinished("alone"))
            raise _BatchFinished
        if self._journal is not None:
            row = BatchRow(
                self.tag,
                self.terms.base_url,
                self.terms.endpoint,
                self.terms.model,
                len(futures),
                self._journal.run,
                self._clock.wall(),
            )
            self._journal.seal(row, [(t.custom_id, t.entry) for t in futures if t.entry])
        self._sealed = True

    def _send(self) -> None:
        while True:
            batch = self._submit()
            if batch is None:
                continue
            batch = self._follow(batch)
            if batch.status != "failed":
                collect_results(batch, self.tag, self._requests, self.terms, self.calls)
                self.calls.resolve(self._unfinished(batch.status))
                return
            self._drop_bad_lines(batch)

    def _submit(self) -> Batch | None:
        """Upload the file and create the batch; None: over the enqueued-token limit, retry."""
        assert self.calls.spool is not None
        self._line_up(tokens_of(self.calls.spool.size))
        patience = self.terms.policy.patience
        try:
            if self._file_id is None:
                until = self._clock.now() + patience
                self._file_id = self._requests.upload(self.tag, self.calls.spool.file, until)
                self._note(file_id=self._file_id)
                self.check_time()
            until = self._clock.now() + patience
            batch = self._requests.create(self.tag, self._file_id, until)
        except openai.APIStatusError as error:
            if is_about_room(error.code, error.message):
                self._wait_for_room(error.message)
                return None
            if error.status_code == 413 and len(self.calls.order) > 1:
                self._manager.too_large(self.calls.spool.size)
                self._split()
            raise
        self._note(batch_id=batch.id, status=batch.status)
        return batch

    def _line_up(self, tokens: int) -> None:
        """Wait until the batch fits the limit of enqueued tokens."""
        while True:
            self.check_time()
            with self._lock:
                if self._manager.pacing(self.terms.model).may_go(self, tokens):
                    return
            self.pause(self.terms.poll)

    def _follow(self, batch: Batch) -> Batch:
        """Poll the batch until it has ended; cancel it when a call needs that."""
        self._batch = batch
        looks, cancels, cancelled = 0, 0, False
        while batch.status not in TERMINAL:
            if not cancelled and self._is_to_stop():
                cancelled = self._requests.cancel(batch.id)
                cancels += 1
                self._check_use(cancels)
            self.pause(self._interval(looks, cancelled))
            looks += 1
            self._batch = batch = self._requests.look(batch)
        with self._lock:
            self._manager.pacing(self.terms.model).over(self)
        self._manager.news()
        self._note_end(batch)
        return batch

    def _check_use(self, cancels: int) -> None:
        """Give up cancelling a batch that no call waits for, after some attempts.

        Raises:
            _BatchFinished: no call waits, and cancelling fails.
        """
        with self._lock:
            if cancels >= _CANCELS and self.calls.empty:
                raise _BatchFinished

    def _interval(self, looks: int, cancelled: bool) -> float:
        """Seconds to the next poll: few at first, and while the batch is being cancelled."""
        longest = self.terms.poll / 4 if cancelled else self.terms.poll
        usual = min(longest, self.terms.poll / 10 * 1.5 ** min(looks, 20))
        jittered = usual * (0.8 + 0.4 * self._clock.random())
        if cancelled:
            return jittered
        with self._lock:
            left = self.calls.earliest - self._clock.now()
        return min(jittered, left) if left > 0 else jittered

    def _is_to_stop(self) -> bool:
        """Whether the batch is to be cancelled now.

        Raises:
            _BatchFinished: no call waits, and the journal knows the batch.
        """
        with self._lock:
            if self.calls.empty and self._journal is not None:
                raise _BatchFinished
            return self.calls.empty or self.calls.late

    # --- a file that failed validation: no line of it was processed ---------------------------

    def _drop_bad_lines(self, batch: Batch) -> None:
        """Send the good lines of a batch that failed validation again.

        Raises:
            _BatchFinished: its calls go on in other batches, or on other lanes.
        """
        refusals = refusals_of(batch)
        self._batch = None
        room = next((r for r in refusals if r.is_about_room), None)
        if room is not None:
            self._wait_for_room(room.message)
            return
        order = self.calls.order
        lines = {order[r.line - 1]: r for r in refusals if r.line and 0 < r.line <= len(order)}
        self._repairs += 1
        if lines and len(lines) < len(order) and self._repairs <= _MAX_REPAIRS:
            free = list(lines)
            record(self._journal, lambda j: j.collected(self.tag, (), free, keep_answer=True))
            for custom_id, refusal in lines.items():
                self.calls.resolve(_refused(LINE_ERROR, refusal), (custom_id,))
            self._restart([self._futures()])
        record(self._journal, lambda journal: journal.unfinished(self.tag))
        about_model = next((r for r in refusals if r.is_about_model), None)
        if about_model is not None:
            self.calls.resolve(_refused(MODEL_ERROR, about_model))
        elif lines:
            self.calls.resolve(_refused(LINE_ERROR, next(iter(lines.values()))))
        else:
            why = "; ".join(f"{r.code}: {r.message}" for r in refusals)
            self.calls.resolve(self._unfinished(batch.status, why, batch.id))
        raise _BatchFinished

    def _wait_for_room(self, message: str) -> None:
        """After a refusal for the enqueued-token limit: wait, or split the file."""
        assert self.calls.spool is not None
        with self._lock:
            pacing = self._manager.pacing(self.terms.model)
            alone = pacing.refused(self, message)
            limit = pacing.limit
        self._note(batch_id=None)
        if not alone:
            return
        self._alone += 1
        too_much = tokens_of(self.calls.spool.size) > limit or self._alone >= _ALONE
        if too_much and len(self.calls.order) > 1:
            self._split()
        if tokens_of(self.calls.spool.size) > limit:
            record(self._journal, lambda journal: journal.gone(self.tag))
            self.calls.resolve(ErrorResult(LINE_ERROR, "token_limit_exceeded", message))
            raise _BatchFinished
        self.pause(self.terms.poll * min(2 ** (self._alone - 1), 10))

    def _futures(self) -> list[BatchFuture]:
        with self._lock:
            return self.calls.futures

    def _split(self) -> None:
        """Send the lines as two smaller batches.

        Raises:
            _BatchFinished: always; this worker has ended.
        """
        futures = self._futures()
        half = (len(futures) + 1) // 2
        self._restart([futures[:half], futures[half:]])

    def _restart(self, parts: list[list[BatchFuture]]) -> None:
        """Send the lines as new batches, one for each part of the calls.

        Raises:
            _BatchFinished: always; this worker has ended.
        """
        for part in parts:
            with self._lock:
                work = self._manager.begin(self.terms)
                work.calls.open = False
                work._repairs = self._repairs
                for future in work.calls.inherit(self.calls, part):
                    future.move(work.calls)
            work.thread.start()
        raise _BatchFinished

    # --- batches of an earlier run, or of another process -------------------------------------

    def _go_on(self, row: BatchRow) -> None:
        """Resume a batch that the journal knows, whatever its state."""
        assert self._journal is not None
        batch: Batch | None = None
        found: BatchRow | None = row
        while found is not None:
            try:
                batch = self._recover(found)
            except openai.NotFoundError:
                batch = None
            if batch is not None:
                batch = self._follow(batch)
            if batch is None or batch.status != "failed" or self._journal.batches.adopt(self.tag):
                break
            self.pause(min(1.0, self.terms.poll))  # its owner will send it again
            found = self._journal.batches.get(self.tag)
        if batch is None or not (batch.output_file_id or batch.error_file_id):
            self._journal.gone(self.tag)
            return  # its lines will be sent again
        waiting = {future.custom_id for future in self._futures()}
        collect_results(batch, self.tag, self._requests, self.terms, self.calls)
        # A call that joined meanwhile may have missed its line, but finds it in the journal.
        lost = waiting & {future.custom_id for future in self._futures()}
        if lost:
            keep = self.terms.policy.journal_store_responses
            record(self._journal, lambda j: j.collected(self.tag, (), lost, keep_answer=keep))
        if batch.status != "completed":
            self.calls.resolve(self._unfinished(batch.status), lost)

    def _recover(self, row: BatchRow) -> Batch | None:
        """The batch; None if it was never created."""
        assert self._journal is not None
        while row.batch_id is None and not self._journal.batches.adopt(self.tag):
            self.pause(min(1.0, self.terms.poll))
            with self._lock:
                if self.calls.empty or self.calls.late:
                    raise _BatchFinished
            found = self._journal.batches.get(self.tag)
            if found is None:
                return None
            row = found
        if row.batch_id is not None:
            return self._requests.retrieve(row.batch_id)
        settled = row.sealed + SETTLING
        while (left := settled - self._clock.wall()) > 0:
            self.pause(min(left, SETTLING))
        batch = self._requests.find(self.tag, row.sealed)
        if batch is not None:
            self._note(batch_id=batch.id, status=batch.status)
        return batch

    # --- ends ---------------------------------------------------------------------------------

    def _note(self, **facts: str | None) -> None:
        record(self._journal, lambda journal: journal.batches.note(self.tag, **facts))

    def _note_end(self, batch: Batch) -> None:
        self._note(
            status=batch.status,
            output_file_id=batch.output_file_id,
            error_file_id=batch.error_file_id,
        )

    def _fail(self, error: Exception) -> None:
        """End the batch with an error: each waiting call gets its own copy."""
        unsure = self._requests.unsure
        never = self._batch is None and not unsure and surely_not_sent(error)
        if self._sealed and never:
            record(self._journal, lambda journal: journal.gone(self.tag))
        failure = failure_of(error)
        outcome: Any = RaisedError(lambda request: again(error, request))
        if unsure or self._batch is not None:
            outcome = RaisedError(lambda request: _unknown_result(request, error))
        if never and failure is not None and is_denied(failure):
            # Other lanes may still work: the key may not allow files, or the server has none.
            kind = MODEL_ERROR if failure.status in NOT_HERE else LINE_ERROR
            status = failure.status or 400
            outcome = ErrorResult(kind, failure.code, failure.message, failure.param, status)
        self.calls.resolve(outcome)

    def _unfinished(self, status: str, why: str = "", batch_id: str | None = None) -> LineOutcome:
        if self._batch is not None:
            batch_id = self._batch.id
        what = "a batch that is not created yet" if batch_id is None else f"batch {batch_id}"
        if status == "alone":
            message = (
                "fewer calls than batch_min_calls (FLEXTIER_BATCH_MIN_CALLS), "
                f"{self.terms.least}, joined within batch_window "
                f"(FLEXTIER_BATCH_WINDOW), {self.terms.policy.batch_window:g} s: no batch was made"
            )
        elif status == "deadline":
            message = f"{what}: the wait ended to keep FlexPolicy.deadline (FLEXTIER_DEADLINE)"
        else:
            message = f"{what}: {status}{f' ({why})' if why else ''}, without a response to it"

        def make(request: Any) -> Exception:
            return BatchUnfinished(request, message, batch_id=batch_id, status=status)

        return RaisedError(make)


def _unknown_result(request: Any, why: Exception | None) -> Exception:
    """The error where a batch may be done and billed, but its results cannot be read."""
    error = openai.APITimeoutError(request)
    error.__cause__ = why
    return error


def _refused(kind: str, refusal: ValidationFailure) -> ErrorResult:
    return ErrorResult(kind, refusal.code, refusal.message, refusal.param)
