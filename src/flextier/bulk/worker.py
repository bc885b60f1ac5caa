"""The run itself: rows in, a bounded number at a time, finished ones to the writer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from time import monotonic

from flextier.batch import detach
from flextier.bulk.checkpoint_db import DONE, FAILED, CheckpointWriter, FinishedRow
from flextier.bulk.cost_tracking import ROW
from flextier.bulk.errors import BulkError
from flextier.bulk.options import RunOptions
from flextier.bulk.policy_overrides import PolicyOverrides
from flextier.bulk.row import Pick, Row, RowProblem
from flextier.bulk.row_result import answered, failed
from flextier.bulk.row_source import RowSource
from flextier.bulk.runnables import Ask
from flextier.bulk.signals import StopSignal
from flextier.calls.context import scoped
from flextier.errors import (
    BackgroundDetached,
    BatchDetached,
    BudgetExceeded,
    Detached,
    FlexDeadlineExceeded,
)
from flextier.journal.call_entry import MEMORIES, CallEntry

_DETACHED = (BackgroundDetached.__name__, BatchDetached.__name__)
_BACKLOG = 10_000
"""Finished rows that wait for the disk: with more of them, no new row is begun."""
_MOMENT = 0.01
_DETACH_AGAIN = 0.2
"""Seconds after which calls that have come to wait for a batch since are detached, too."""


class RowWorkers:
    """One start of a run."""

    def __init__(
        self,
        run_options: RunOptions,
        ask: Ask,
        pick: Pick,
        terms: PolicyOverrides,
        feed: RowSource,
        keeper: CheckpointWriter,
        seen: int,
    ) -> None:
        self._run_options = run_options
        self._ask = ask
        self._pick = pick
        self._terms = terms
        self._feed = feed
        self._keeper = keeper
        self._seen = seen
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiter: asyncio.Future[None] | None = None
        self._begun_at = monotonic()
        self.stop = StopSignal(self._soon, self._now)
        self.error: BulkError | None = None
        """What kept the run from going on."""
        self._is_given_up = False
        self._count = {DONE: 0, FAILED: 0}

    @property
    def done(self) -> int:
        """Rows that are answered, by this start or an earlier one."""
        return self._count[DONE] + self._feed.skipped[DONE]

    @property
    def failed(self) -> int:
        """The same of those that failed."""
        return self._count[FAILED] + self._feed.skipped[FAILED]

    @property
    def in_flight(self) -> int:
        """Rows under way."""
        return len(self._tasks)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return monotonic() - self._begun_at

    async def __call__(self) -> None:
        """Run all rows, or as many as there is leave for; returns when none is under way."""
        try:
            await self._begin_rows()
        except BulkError as error:
            self.error = error
            self.stop.soon("storage")
        except BaseException:  # cancelled: nothing waits for the rows any more
            await self._give_up()
            raise
        await self._drain()

    async def _begin_rows(self) -> None:
        loop = asyncio.get_running_loop()
        async with aclosing(self._feed()) as rows:  # type: ignore[type-var]  # an async generator
            async for row in rows:
                await self._room()
                if self.stop.reason is not None:
                    return
                if row.problem is not None:
                    self._finish(row, FAILED, failed(row, row.problem))
                    continue
                task = loop.create_task(self._one(row))
                self._tasks.add(task)
                task.add_done_callback(self._ended)

    async def _room(self) -> None:
        """Wait until another row may begin, or none may any more."""
        while self._keeper.backlog > _BACKLOG and self.stop.reason is None:
            await asyncio.sleep(_MOMENT)
        while len(self._tasks) >= self._run_options.concurrency and self.stop.reason is None:
            await self._wait()
        if self._terms.is_over():
            self.stop.soon("deadline")

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._wake()
        if not task.cancelled():
            task.exception()  # an interrupt, which the loop raises itself

    async def _drain(self) -> None:
        try:
            while self._tasks:
                if self.stop.reason == "interrupted":
                    detach()  # again and again: a row may have more than one call
                    await asyncio.wait(self._tasks, timeout=_DETACH_AGAIN)
                else:
                    await self._wait()
        except asyncio.CancelledError:
            await self._give_up()
            raise

    async def _give_up(self) -> None:
        self._now()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _soon(self) -> None:
        self._wake()

    def _now(self) -> None:
        self._is_given_up = True
        for task in self._tasks:
            task.cancel()
        self._wake()

    # --- one row ------------------------------------------------------------------------------

    async def _one(self, row: Row) -> None:
        # The task has a context of its own: nothing of this need be taken back.
        ROW.set(row)
        MEMORIES.set(row.memories)
        try:
            given = self._pick(row)
            with scoped(changes=self._terms.changes()):
                answer = await self._ask(given)
            line = answered(
                row, answer, self._run_options.output_column, with_cost=self._run_options.with_cost
            )
        except asyncio.CancelledError as error:
            if self._is_given_up:
                self._feed.finished(row)
                raise
            self._fail(row, error)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a row does, the others go on
            self._fail(row, error)
        else:
            if self._is_cut(row):  # what it made of that is no answer
                self._feed.finished(row)
                return
            self._finish(row, DONE, line, row.memories)

    def _fail(self, row: Row, error: BaseException) -> None:
        """Note why a row failed, unless it was the run that ended."""
        if self._is_of_the_run(error) or self._is_cut(row):
            self._feed.finished(row)
            return
        line = failed(row, str(error) if isinstance(error, RowProblem) else error)
        # If the row failed on its last answer, running it again makes that call again.
        self._finish(row, FAILED, line, row.memories[-1:])

    def _is_cut(self, row: Row) -> bool:
        """Whether the run has ended the row's last call, whatever the row has made of that."""
        if row.is_cut:
            self.stop.soon("budget")
            return True
        last = row.records[-1].error if row.records else None
        if last == FlexDeadlineExceeded.__name__ and self._terms.is_nearly_over():
            self.stop.soon("deadline")
            return True
        return last in _DETACHED

    def _is_of_the_run(self, error: BaseException) -> bool:
        seen: BaseException | None = error
        while seen is not None:
            if isinstance(seen, BudgetExceeded):
                self.stop.soon("budget")
                return True
            if isinstance(seen, FlexDeadlineExceeded) and self._terms.is_nearly_over():
                self.stop.soon("deadline")
                return True
            if isinstance(seen, Detached):
                return True
            seen = seen.__cause__
        return False

    def _finish(
        self, row: Row, state: int, run_options: str, memories: Sequence[CallEntry] = ()
    ) -> None:
        used = [
            (one.journal, one.entry)
            for one in memories
            if one.is_answered and one.journal.path == self._terms.journal
        ]
        record = FinishedRow(row.identity, row.line, row.digest, state, self._seen, run_options)
        self._keeper.keep(record, used)
        self._count[state] += 1
        # Not before: a look-up that comes after this finds the record.
        self._feed.finished(row)
