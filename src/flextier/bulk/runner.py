"""A run from start to end: resume from the checkpoints, run the pending rows, write the output."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from flextier._utils.sqlite_file import CONTENT_ERRORS
from flextier.bulk.call_scope import ROW, PolicyOverrides, RunBudget
from flextier.bulk.checkpoint_db import CheckpointDB, CheckpointWriter, storage_error
from flextier.bulk.errors import BulkError, InputError, StorageError
from flextier.bulk.input_formats import InputSource, fingerprint, source_of
from flextier.bulk.options import OnProgress, RunOptions
from flextier.bulk.output_files import write_errors, write_output, write_part
from flextier.bulk.quote_file import saved_quote
from flextier.bulk.result import BulkResult, Progress, Reason
from flextier.bulk.row import input_selector
from flextier.bulk.row_source import RowSource, check_columns, first_readable_row
from flextier.bulk.runnables import Target, WorkerThreads, target_of
from flextier.bulk.signals import stop_on_signals
from flextier.bulk.state_dir import check_settings, create_state_dir, locked
from flextier.bulk.worker import DETACHED, RowWorkers
from flextier.calls.context import block, current_scope, listen, scoped
from flextier.calls.report import CallReport
from flextier.costs.totals import CostTotals
from flextier.journal import JournalError, begin_again
from flextier.pricing.price_book import load_price_list

_PROGRESS_INTERVAL = 0.1
"""Seconds between two calls of the progress callback."""
_MAX_THREADS = 1000


async def run_all(
    runnable: Any,
    run_options: RunOptions,
    *,
    label: str | None = None,
    on_progress: OnProgress | None = None,
    with_signals: bool = False,
) -> BulkResult:
    """Run a runnable over all rows that are not finished."""
    threads = WorkerThreads(min(run_options.concurrency, _MAX_THREADS))
    target = target_of(runnable, threads, label)
    source = source_of(run_options.input)
    create_state_dir(run_options)
    with ExitStack() as stack:
        stack.enter_context(locked(run_options.state_dir / "lock", run_options.output))
        stack.callback(threads.close)
        rows_db = run_options.state_dir / "rows.db"
        try:
            check_settings(run_options, target.label)
            database = CheckpointDB(rows_db)
            stack.callback(database.close)
            runner = _Runner(run_options, target, source, database, on_progress)
            result = await runner(with_signals=with_signals)
            if run_options.receipt is not None:
                _write_receipt(result, run_options.receipt)
            return result
        except CONTENT_ERRORS as error:
            raise storage_error(rows_db, error) from error
        except JournalError as error:
            raise StorageError(str(error)) from error


def _write_receipt(result: BulkResult, path: Path) -> None:
    try:
        result.receipt.write(path)
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be written: {error}") from error


@dataclass
class _Runner:
    """One start of a run."""

    run_options: RunOptions
    target: Target
    source: InputSource
    database: CheckpointDB
    on_progress: OnProgress | None

    def __post_init__(self) -> None:
        before = self.database.get_meta("totals")
        try:
            self._totals_before = CostTotals() if before is None else CostTotals.from_dict(before)
        except (KeyError, TypeError, ArithmeticError) as error:
            raise sqlite3.DatabaseError(f"totals: {error!r}") from error
        self._input_fingerprint = fingerprint(self.run_options.input)

    async def __call__(self, *, with_signals: bool) -> BulkResult:
        if (result := self._previous_result()) is not None:
            return result
        run_options, database = self.run_options, self.database
        remaining_budget = self._remaining_budget()
        first = await asyncio.to_thread(first_readable_row, self.source)
        select_input = input_selector(
            run_options.input_column, needs_text=self.target.needs_text, first=first
        )
        check_columns(run_options, first)
        self._input_version = self._number_input_version()
        is_fresh = database.is_empty
        self._totals = self._totals_before.copy()
        with ExitStack() as stack:
            if remaining_budget is not None:
                budgets = (*current_scope().budgets, (RunBudget(), remaining_budget))
                stack.enter_context(scoped(budgets=budgets))
            load_price_list()
            begin_again(str(run_options.state_dir / "journal.db"))
            stack.enter_context(listen(self._count))
            overrides = PolicyOverrides(run_options)
            if (part_file := run_options.part_file) is not None:
                await asyncio.to_thread(write_part, database, part_file, self._input_version)
            loop = asyncio.get_running_loop()
            self._writer = CheckpointWriter(
                database,
                meta=lambda: {"totals": self._totals.to_dict()},
                on_failure=lambda _: loop.call_soon_threadsafe(self._workers.stop.drain, "storage"),
                part_file=part_file,
            )
            self._rows = RowSource(
                self.source, run_options, self._writer, self._input_version, is_fresh
            )
            self._workers = RowWorkers(
                run_options,
                self.target.invoke,
                select_input,
                overrides,
                self._rows,
                self._writer,
                self._input_version,
                stack.enter_context(block("flextier.bulk.run")),
            )
            if with_signals:
                stack.enter_context(stop_on_signals(self._workers.stop))
            return await self._run_rows()

    def _count(self, report: CallReport) -> None:
        """Count what a call cost, and add its report to its row."""
        if report.error not in DETACHED:  # such a call goes on, and is counted at its end
            self._totals.add_report(report)
        if (row := ROW.get()) is not None:
            row.reports.append(report)

    async def _run_rows(self) -> BulkResult:
        rows, workers = self._rows, self._workers
        counting = asyncio.create_task(asyncio.to_thread(self.source.count))

        def progress() -> Progress:
            total = rows.read if rows.is_at_end else None
            if total is None and counting.done() and not counting.cancelled():
                total = counting.result() if counting.exception() is None else None
            return Progress(
                total=total,
                done=workers.done,
                failed=workers.failed,
                resumed=sum(rows.skipped.values()),
                in_flight=workers.in_flight,
                elapsed=workers.elapsed,
                totals=self._totals,
                stopping=workers.stop.reason,
            )

        async def report_progress() -> None:
            while self.on_progress is not None:
                self.on_progress(progress())
                await asyncio.sleep(_PROGRESS_INTERVAL)

        reporting = asyncio.create_task(report_progress())
        try:
            await workers()
        finally:
            reporting.cancel()
            self._writer.close()  # blocks until all is on the disk; no row is in flight any more
        if self.on_progress is not None:
            self.on_progress(progress())
        try:
            total = rows.read if rows.is_at_end else await counting
        except OSError as error:
            raise InputError(f"input {self.run_options.input}: {error}") from error
        return await asyncio.to_thread(self._finish, total)

    def _finish(self, total: int) -> BulkResult:
        """Write the errors file and, if all rows are finished, the output."""
        run_options, database, workers = self.run_options, self.database, self._workers
        write_errors(database, run_options, self._input_version, workers.failed)
        if workers.error is not None:
            raise workers.error
        is_complete = self._rows.is_at_end and total == workers.done + workers.failed
        if is_complete:
            write_output(database, run_options, self.source, self._input_version, workers.done)
            counts = {"rows": total, "done": workers.done, "failed": workers.failed}
            database.set_meta({"finished": {**self._completion_state(), **counts}})
            if run_options.part_file is not None:
                run_options.part_file.unlink(missing_ok=True)
        return BulkResult(
            rows=total,
            done=workers.done,
            failed=workers.failed,
            resumed=sum(self._rows.skipped.values()),
            totals=self._totals,
            elapsed=workers.elapsed,
            output=run_options.output if is_complete else None,
            errors=run_options.errors if workers.failed else None,
            stopped=None if is_complete else workers.stop.reason or _mode(run_options),
            submitted=workers.submitted,
            budget=run_options.budget,
            quoted=saved_quote(run_options, self.target.label),
        )

    # --- earlier starts -----------------------------------------------------------------------

    def _completion_state(self) -> dict[str, Any]:
        """The files and the order; a complete run is repeated if one of them has changed."""
        output, errors = self.run_options.output, self.run_options.errors
        return {
            "input": self._input_fingerprint,
            "order": self.run_options.order,
            "output": fingerprint(output) if output.is_file() else None,
            "errors": [str(errors), fingerprint(errors) if errors.is_file() else None],
        }

    def _previous_result(self) -> BulkResult | None:
        """The result of an earlier start that left nothing to do."""
        run_options, previous = self.run_options, self.database.get_meta("finished")
        if previous is None or (previous["failed"] and run_options.retry_errors):
            return None
        if any(previous[name] != now for name, now in self._completion_state().items()):
            return None
        return BulkResult(
            rows=previous["rows"],
            done=previous["done"],
            failed=previous["failed"],
            resumed=previous["done"] + previous["failed"],
            totals=self._totals_before,
            elapsed=0.0,
            output=run_options.output,
            errors=run_options.errors if previous["failed"] else None,
            budget=run_options.budget,
            quoted=saved_quote(run_options, self.target.label),
        )

    def _remaining_budget(self) -> Decimal | None:
        """US$ that earlier starts have left of the budget; None: there is no budget."""
        limit, spent = self.run_options.budget, self._totals_before.cost
        if limit is None:
            return None
        if spent >= limit:
            raise BulkError(
                f"${spent:f} of the budget's ${limit:f} is spent by earlier starts: "
                "raise budget (--budget)"
            )
        return limit - spent

    def _number_input_version(self) -> int:
        """The number of this version of the input: a new one if the file has changed."""
        number: int = self.database.get_meta("version") or 0
        if number == 0 or self.database.get_meta("input") != self._input_fingerprint:
            number += 1
            self.database.set_meta({"version": number, "input": self._input_fingerprint})
        return number


def _mode(run_options: RunOptions) -> Reason | None:
    """Why a run ends with pending rows that nothing has stopped."""
    return "submitted" if run_options.submit else "collected" if run_options.collect else None
