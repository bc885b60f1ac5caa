"""Runs the rows: a bounded number at a time; finished rows go to the checkpoint writer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from time import monotonic

from flextier._utils.safe_warn import safe_warn
from flextier.batch import detach
from flextier.bulk.call_scope import NEAR_END, ROW, PolicyOverrides
from flextier.bulk.checkpoint_db import DONE, FAILED, CheckpointWriter, FinishedRow
from flextier.bulk.errors import BulkError, StorageError
from flextier.bulk.options import RunOptions
from flextier.bulk.row import Row, RowProblem, SelectInput
from flextier.bulk.row_source import RowSource
from flextier.bulk.runnables import Invoke
from flextier.bulk.serialize import error_line, output_line
from flextier.bulk.signals import StopSignal
from flextier.calls.blocks import Block
from flextier.calls.context import scoped
from flextier.errors import (
    BackgroundDetached,
    BatchDetached,
    BatchNotSent,
    BudgetExceeded,
    Detached,
    FlexDeadlineExceeded,
)
from flextier.journal import JournalError
from flextier.journal.call_entry import CALL_ENTRIES, CallEntry

_UNSENT = {
    BatchNotSent.__name__: "the lines of a batch cannot be written to TMPDIR",
    JournalError.__name__: "the journal cannot be used",
}
"""Errors of calls that were not sent, as they could not be written to the disk."""
DETACHED = (BackgroundDetached.__name__, BatchDetached.__name__)
"""Errors of calls that go on without this process."""
_MAX_BACKLOG = 10_000
"""Finished rows that are not on the disk yet: with more of them, no new row begins."""
_CHECK_INTERVAL = 0.01
"""Seconds between two checks of the backlog, or for the first call."""
_TRIAL_ROWS = 10
"""Rows that begin before one of them has made a call through flextier."""
_DETACH_INTERVAL = 0.2
"""Seconds after which calls that have begun to wait for a batch since are detached, too."""


@dataclass(eq=False)
class RowWorkers:
    """Runs the rows of one start of a run."""

    run_options: RunOptions
    invoke: Invoke
    select_input: SelectInput
    overrides: PolicyOverrides
    source: RowSource
    writer: CheckpointWriter
    input_version: int
    calls: Block
    stop: StopSignal = field(init=False)
    error: BulkError | None = None
    """Why the run cannot continue."""

    def __post_init__(self) -> None:
        self.stop = StopSignal(self._wake, self._cancel_rows)
        self._begun = 0
        self._has_checked_calls = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.submitted = 0
        """Rows whose call was left to go on without this process."""
        self._waiter: asyncio.Future[None] | None = None
        self._started_at = monotonic()
        self._finished = {DONE: 0, FAILED: 0}

    @property
    def done(self) -> int:
        """Rows with a response, those of earlier starts included."""
        return self._finished[DONE] + self.source.skipped[DONE]

    @property
    def failed(self) -> int:
        """Rows that failed, those of earlier starts included."""
        return self._finished[FAILED] + self.source.skipped[FAILED]

    @property
    def in_flight(self) -> int:
        """Rows that have begun and are not finished."""
        return len(self._tasks)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return monotonic() - self._started_at

    async def __call__(self) -> None:
        """Run all rows, or until the run is stopped; return when none is in flight."""
        leaving = asyncio.create_task(self._leave_submitted())
        try:
            await self._run_rows()
        finally:
            leaving.cancel()

    async def _run_rows(self) -> None:
        try:
            await self._begin_rows()
        except BulkError as error:
            self.error = error
            self.stop.drain("storage")
        except BaseException:  # cancelled: nothing waits for the rows any more
            await self._abandon_rows()
            raise
        await self._drain()
        if not self._has_checked_calls and (message := self._without_calls()):
            safe_warn(message)

    async def _begin_rows(self) -> None:
        loop = asyncio.get_running_loop()
        async with aclosing(self.source()) as rows:  # type: ignore[type-var]  # an async generator
            async for row in rows:
                await self._wait_for_slot()
                if self.stop.reason is not None:
                    return
                if row.problem is not None:
                    self._finish(row, FAILED, error_line(row, row.problem))
                    continue
                if self._begun == _TRIAL_ROWS:
                    await self._wait_for_call()
                    if self.stop.reason is not None:
                        self.source.release(row)
                        return
                self._begun += 1
                task = loop.create_task(self._run_row(row))
                self._tasks.add(task)
                task.add_done_callback(self._task_ended)

    async def _wait_for_slot(self) -> None:
        """Wait until another row may begin, or the run is stopped."""
        while self.writer.backlog > _MAX_BACKLOG and self.stop.reason is None:
            await asyncio.sleep(_CHECK_INTERVAL)
        while len(self._tasks) >= self.run_options.concurrency and self.stop.reason is None:
            await self._wait()
        if self.overrides.is_over():
            self.stop.drain("deadline")

    async def _wait_for_call(self) -> None:
        """Wait until a row has made a call through flextier, or all that began have ended."""
        while self._tasks and not self.calls.has_seen_call and self.stop.reason is None:
            await asyncio.sleep(_CHECK_INTERVAL)
        self._has_checked_calls = True
        if message := self._without_calls():
            if self.run_options.budget is not None:
                raise BulkError(message)
            safe_warn(message)

    def _without_calls(self) -> str:
        """What to say if rows were answered without a call through flextier; empty: nothing."""
        options = self.run_options
        void = [name for name in ("budget", "lanes") if getattr(options, name) is not None]
        if self.calls.has_seen_call or not (self._finished[DONE] and void):
            return ""
        return (
            f"no call of the first {self._finished[DONE]} rows went through flextier, "
            f"without effect: {', '.join(void)}. Make the calls with a client or a model of "
            "flextier's, such as flextier.langchain.ChatOpenAIFlex, or leave these options out"
        )

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._wake()
        if not task.cancelled():
            task.exception()  # an interrupt, which the loop raises itself

    async def _drain(self) -> None:
        try:
            while self._tasks:
                if self.stop.reason == "interrupted":
                    detach()  # repeatedly: a row may make more than one call
                    await asyncio.wait(self._tasks, timeout=_DETACH_INTERVAL)
                else:
                    await self._wait()
        except asyncio.CancelledError:
            await self._abandon_rows()
            raise

    async def _leave_submitted(self) -> None:
        """End rows whose calls go on without this process, if the run does not wait for them."""
        while self.run_options.submit or self.run_options.collect:
            await asyncio.sleep(_DETACH_INTERVAL)
            detach(submitted=True)

    async def _abandon_rows(self) -> None:
        self.stop.abort()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _cancel_rows(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._wake()

    # --- one row ------------------------------------------------------------------------------

    async def _run_row(self, row: Row) -> None:
        # The task has its own context: nothing has to be reset.
        ROW.set(row)
        CALL_ENTRIES.set(row.journal_entries)
        row.journal_entries.known_only = self.run_options.collect
        options = self.run_options
        try:
            value = self.select_input(row)
            with scoped(**self.overrides.scope):
                response = await self.invoke(value)
            line = output_line(row, response, options.output_column, with_cost=options.with_cost)
        except asyncio.CancelledError as error:
            if self.stop.is_aborted:
                self.source.release(row)
                raise
            self._fail(row, error)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a row raises, the others continue
            self._fail(row, error)
        else:
            if self._was_ended_by_run(row):  # its response was made from a failed call
                self.source.release(row)
            else:
                self._finish(row, DONE, line, row.journal_entries)

    def _fail(self, row: Row, error: BaseException) -> None:
        """Record why a row failed; a row that the run itself ended stays pending."""
        if isinstance(error, (BatchNotSent, JournalError)):
            self._storage_failed(error)
        if self._was_ended_by_run(row) or self._is_end_of_run(error):
            self.source.release(row)
            return
        line = error_line(row, str(error) if isinstance(error, RowProblem) else error)
        # If the row failed on its last response, running it again repeats that call.
        self._finish(row, FAILED, line, row.journal_entries[-1:])

    def _was_ended_by_run(self, row: Row) -> bool:
        """Whether the run ended the row's last call, whatever error the row made of it."""
        if row.hit_budget:
            self.stop.drain("budget")
            return True
        last = row.reports[-1].error if row.reports else None
        if last in _UNSENT or row.journal_entries.error is not None:
            self._storage_failed(row.journal_entries.error or _UNSENT[str(last)])
            return True
        if last == FlexDeadlineExceeded.__name__ and self.overrides.is_over(NEAR_END):
            self.stop.drain("deadline")
            return True
        self.submitted += last in DETACHED and self.stop.reason is None
        return last in DETACHED or row.journal_entries.refused

    def _storage_failed(self, reason: Exception | str) -> None:
        """End the run, as calls cannot be sent: the journal or ``TMPDIR`` cannot be written to."""
        self.error = self.error or StorageError(
            f"{reason}; rows that were not sent are pending: once that is solved, or disk space is "
            "free, run the same again"
        )
        self.stop.drain("storage")

    def _is_end_of_run(self, error: BaseException) -> bool:
        """Whether an error, or one that it was raised from, comes from the end of the run."""
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, BudgetExceeded):
                self.stop.drain("budget")
                return True
            if isinstance(cause, FlexDeadlineExceeded) and self.overrides.is_over(NEAR_END):
                self.stop.drain("deadline")
                return True
            if isinstance(cause, Detached):
                return True
            cause = cause.__cause__
        return False

    def _finish(self, row: Row, state: int, line: str, entries: Sequence[CallEntry] = ()) -> None:
        """Hand a finished row to the writer, with the journal entries that it used."""
        used = [
            (entry.journal, entry.entry)
            for entry in entries
            if entry.is_answered and entry.journal.path == self.overrides.journal
        ]
        finished = FinishedRow(row.identity, row.line, row.digest, state, self.input_version, line)
        self.writer.add(finished, used)
        self._finished[state] += 1
        # Only now: a look-up after this finds the record.
        self.source.release(row)
