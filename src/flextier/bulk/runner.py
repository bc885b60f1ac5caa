"""A run from its beginning to its end: what is there, what is left to do, what is written."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack
from decimal import Decimal
from typing import Any

from flextier.bulk.checkpoint_db import CheckpointDB, CheckpointWriter
from flextier.bulk.cost_tracking import RunBudget, RunCosts
from flextier.bulk.errors import BulkError, InputError, StorageError
from flextier.bulk.input_formats import InputSource, fingerprint, source_of
from flextier.bulk.lock import locked
from flextier.bulk.options import RunOptions
from flextier.bulk.output_files import is_ours, write_errors, write_output, write_part
from flextier.bulk.policy_overrides import PolicyOverrides
from flextier.bulk.result import BulkResult, Progress
from flextier.bulk.row import Row, picker
from flextier.bulk.row_source import RowSource
from flextier.bulk.runnables import Target, target_of
from flextier.bulk.signals import heeding_signals
from flextier.bulk.worker import RowWorkers
from flextier.bulk.worker_threads import WorkerThreads
from flextier.calls.context import current_scope, listen, scoped
from flextier.costs.totals import CostTotals
from flextier.journal import JournalError, begin_again
from flextier.pricing.price_book import load_price_list

OnProgress = Callable[[Progress], object]

_TICK = 0.1
"""Seconds between two looks at the progress."""
_MOST_THREADS = 1000


async def run_all(
    runnable: Any,
    run_options: RunOptions,
    *,
    label: str | None = None,
    on_progress: OnProgress | None = None,
    with_signals: bool = False,
) -> BulkResult:
    """Run a runnable over all rows that are not finished.

    Raises:
        BulkError: the run cannot begin, or cannot go on.
    """
    threads = WorkerThreads(min(run_options.concurrency, _MOST_THREADS))
    target = target_of(runnable, threads, label)
    source = source_of(run_options.input)
    _make(run_options)
    with ExitStack() as stack:
        stack.enter_context(locked(run_options.state / "lock", run_options.output))
        stack.callback(threads.close)
        try:
            _restart_if_asked(run_options, target)
        except sqlite3.Error as error:
            raise StorageError(f"{run_options.state}: {error}") from error
        state = CheckpointDB(run_options.state / "rows.db")
        stack.callback(state.close)
        try:
            whole = _Runner(run_options, target, source, state)
            return await whole(on_progress, with_signals=with_signals)
        except (sqlite3.Error, JournalError) as error:
            raise StorageError(f"{run_options.state}: {error}") from error


def _make(run_options: RunOptions) -> None:
    if not run_options.overwrite and not run_options.state.is_dir():
        for path in (run_options.output, run_options.errors):
            if path.exists():
                raise _exists(path)
    try:
        run_options.state.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{run_options.state} cannot be made: {error}") from error


def _exists(path: Any) -> BulkError:
    return BulkError(f"{path} exists, and is not of this run: overwrite=True (--overwrite)")


def _restart_if_asked(run_options: RunOptions, target: Target) -> None:
    """Compare with what was run before; forget that, if it was another run and may be forgotten.

    Raises:
        BulkError: it was another run, or the files in the way are not of this one.
    """
    state = CheckpointDB(run_options.state / "rows.db")
    settings = {"runnable": target.label, **run_options.settings}
    try:
        # Nothing done is nothing to lose: an option that could not be does not bind the next try.
        before = {} if state.is_empty else state.fact("settings")
        other = [name for name in before if before[name] != settings[name]]
        if not other:
            if not before:
                state.set_facts({"settings": settings})
            for path in (run_options.output, run_options.errors):
                if path.exists() and not run_options.overwrite and not is_ours(state, path):
                    raise _exists(path)
            return
        if not run_options.overwrite:
            was = ", ".join(f"{name}={before[name]!r}" for name in other)
            raise BulkError(
                f"{run_options.state} belongs to another run, with {was}: repeat that run, choose "
                "another output, or pass overwrite=True (--overwrite) to discard it and start again"
            )
    finally:
        state.close()
    for name in ("rows.db", "rows.db-wal", "rows.db-shm"):
        (run_options.state / name).unlink(missing_ok=True)
    for path in run_options.state.glob("journal.db*"):
        path.unlink()
    state = CheckpointDB(run_options.state / "rows.db")
    state.set_facts({"settings": settings})
    state.close()


class _Runner:
    """What one start of a run needs, from the state to the result."""

    def __init__(
        self, run_options: RunOptions, target: Target, source: InputSource, state: CheckpointDB
    ) -> None:
        self._run_options = run_options
        self._target = target
        self._source = source
        self._state = state
        before = state.fact("totals")
        self._before = CostTotals() if before is None else CostTotals.from_dict(before)
        self._print = fingerprint(run_options.input)

    async def __call__(self, on_progress: OnProgress | None, *, with_signals: bool) -> BulkResult:
        if (result := self._is_all_done()) is not None:
            return result
        left = self._left()
        first = await asyncio.to_thread(_first, self._source)
        run_options = self._run_options
        pick = picker(run_options.input_column, needs_text=self._target.needs_text, first=first)
        _check_columns(run_options, first)
        seen = self._version()
        is_fresh = self._state.is_empty
        books = RunCosts(self._before.copy())
        with ExitStack() as stack:
            if left is not None:
                budgets = (*current_scope().budgets, (RunBudget(), left))
                stack.enter_context(scoped(budgets=budgets))
            load_price_list()
            begin_again(str(run_options.state / "journal.db"))
            stack.enter_context(listen(books.on_report))
            terms = PolicyOverrides(
                run_options.lanes,
                run_options.state / "journal.db",
                run_options.deadline,
                asyncio.get_running_loop().time,
            )
            if run_options.part is not None:
                await asyncio.to_thread(write_part, self._state, run_options.part, seen)
            keeper = self._keeper(books)
            feed = RowSource(self._source, run_options, keeper, seen, is_fresh=is_fresh)
            running = RowWorkers(run_options, self._target.ask, pick, terms, feed, keeper, seen)
            self._running = running
            if with_signals:
                stack.enter_context(heeding_signals(running.stop))
            return await self._watched(running, feed, keeper, books, seen, on_progress)

    def _keeper(self, books: RunCosts) -> CheckpointWriter:
        loop = asyncio.get_running_loop()

        def on_failure(error: Exception) -> None:
            loop.call_soon_threadsafe(self._running.stop.soon, "storage")

        return CheckpointWriter(
            self._state,
            facts=lambda: {"totals": books.totals.to_dict()},
            on_failure=on_failure,
            part=self._run_options.part,
        )

    async def _watched(
        self,
        running: RowWorkers,
        feed: RowSource,
        keeper: CheckpointWriter,
        books: RunCosts,
        seen: int,
        on_progress: OnProgress | None,
    ) -> BulkResult:
        counting = asyncio.create_task(asyncio.to_thread(self._source.count))

        def progress() -> Progress:
            total = feed.read if feed.is_at_end else None
            if total is None and counting.done() and not counting.cancelled():
                total = counting.result() if counting.exception() is None else None
            return Progress(
                total=total,
                done=running.done,
                failed=running.failed,
                resumed=sum(feed.skipped.values()),
                in_flight=running.in_flight,
                elapsed=running.elapsed,
                totals=books.totals,
                stopping=running.stop.reason,
            )

        ticking = asyncio.create_task(_tick(progress, on_progress))
        try:
            await running()
        finally:
            ticking.cancel()
            keeper.close()  # waits for the disk, when nothing else is left to do
        if on_progress is not None:
            on_progress(progress())
        rows = feed.read if feed.is_at_end else await _counted(counting, self._run_options)
        return await asyncio.to_thread(self._end, running, feed, books, rows, seen)

    def _end(
        self, running: RowWorkers, feed: RowSource, books: RunCosts, rows: int, seen: int
    ) -> BulkResult:
        """Write what there is to write, and say what it came to."""
        run_options, state = self._run_options, self._state
        write_errors(state, run_options, seen, running.failed)
        if running.error is not None:
            raise running.error
        is_whole = feed.is_at_end and rows == running.done + running.failed
        if is_whole:
            write_output(state, run_options, self._source, seen, running.done)
            counts = {"rows": rows, "done": running.done, "failed": running.failed}
            state.set_facts({"finished": {**self._finish_line(), **counts}})
            if run_options.part is not None:
                run_options.part.unlink(missing_ok=True)
        return BulkResult(
            rows=rows,
            done=running.done,
            failed=running.failed,
            resumed=sum(feed.skipped.values()),
            totals=books.totals,
            elapsed=running.elapsed,
            output=run_options.output if is_whole else None,
            errors=run_options.errors if running.failed else None,
            stopped=None if is_whole else running.stop.reason,
        )

    # --- what was there before ----------------------------------------------------------------

    def _finish_line(self) -> dict[str, Any]:
        """What is as it is when all is done, and nothing has changed since."""
        run_options = self._run_options
        return {
            "input": self._print,
            "order": run_options.order,
            "output": fingerprint(run_options.output) if run_options.output.is_file() else None,
            "errors": [
                str(run_options.errors),
                fingerprint(run_options.errors) if run_options.errors.is_file() else None,
            ],
        }

    def _is_all_done(self) -> BulkResult | None:
        """The result, where an earlier start has left nothing to do."""
        run_options, was = self._run_options, self._state.fact("finished")
        if was is None or any(was[name] != now for name, now in self._finish_line().items()):
            return None
        if was["failed"] and run_options.retry_errors:
            return None
        return BulkResult(
            rows=was["rows"],
            done=was["done"],
            failed=was["failed"],
            resumed=was["done"] + was["failed"],
            totals=self._before,
            elapsed=0.0,
            output=run_options.output,
            errors=run_options.errors if was["failed"] else None,
        )

    def _left(self) -> Decimal | None:
        """US$ that are left of the budget; None: it has none."""
        limit = self._run_options.budget
        if limit is None:
            return None
        if self._before.cost >= limit:
            raise BulkError(
                f"${self._before.cost:f} of the budget's ${limit:f} is spent by earlier starts: "
                "raise budget (--budget)"
            )
        return limit - self._before.cost

    def _version(self) -> int:
        """The number of this version of the input: another one, if the file is not as it was."""
        seen = self._state.fact("version") or 0
        if seen == 0 or self._state.fact("input") != self._print:
            seen += 1
            self._state.set_facts({"version": seen, "input": self._print})
        return seen


def _first(source: InputSource) -> Row | None:
    """The first row that can be read, looked for in the first thousand."""
    for number, row in enumerate(source.rows()):
        if row.problem is None:
            return row
        if number == 1000:
            break
    return None


def _check_columns(run_options: RunOptions, first: Row | None) -> None:
    """See to it that nothing is spent on rows that all have the same mistake.

    Raises:
        BulkError: the first row lacks the key column, or has one that the output adds.
    """
    columns = None if first is None else first.values
    if columns is None:
        return
    if run_options.key is not None and run_options.key not in columns:
        there = ", ".join(map(repr, columns))
        raise BulkError(f"key (--key): no column {run_options.key!r}; the columns are: {there}")
    for name in run_options.added:
        if name in columns:
            raise BulkError(
                f"the input has a column {name!r} already: choose another with output_column "
                "(--output-column)"
            )


async def _counted(counting: asyncio.Task[int], run_options: RunOptions) -> int:
    try:
        return await counting
    except OSError as error:
        raise InputError(f"input {run_options.input}: {error}") from error


async def _tick(progress: Callable[[], Progress], on_progress: OnProgress | None) -> None:
    while on_progress is not None:
        on_progress(progress())
        await asyncio.sleep(_TICK)
