"""quote(): what a run over rows is going to cost, before anything is sent."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from contextvars import copy_context
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

from flextier.bulk.checkpoint_db import CheckpointDB
from flextier.bulk.errors import BulkError
from flextier.bulk.input_formats import source_of
from flextier.bulk.options import RunOptions
from flextier.bulk.quote_file import save_quote
from flextier.bulk.row import Row, RowProblem, input_selector
from flextier.bulk.row_source import check_columns, first_readable_row
from flextier.bulk.runnables import WorkerThreads, target_of
from flextier.bulk.state_dir import create_state_dir, other_run
from flextier.calls.context import Scope, current_scope, earlier, override, scoped
from flextier.costs.totals import CostTotals
from flextier.lanes import JOURNAL
from flextier.policy import FlexPolicy, PolicyFields
from flextier.quotes.from_samples import quote_of
from flextier.quotes.output_tokens import OutputTokens
from flextier.quotes.quote import Quote
from flextier.quotes.recording import CALLS, RecordedCall, recorded
from flextier.variables import LEDGER, setting

SAMPLE = 100
"""Rows whose calls are made."""
_SEED = 21

Rows = str | os.PathLike[str] | Iterable[Mapping[str, Any] | str]


def quote(
    target: Any,
    rows: Rows,
    policy: FlexPolicy | PolicyFields | None = None,
    *,
    input_column: str | None = None,
    sample: int = SAMPLE,
    output_tokens: int | None = None,
    ledger: str | os.PathLike[str] | None = None,
) -> Quote:
    """What running a target over rows is going to cost, with the range; nothing is sent.

    The target is called on a sample of the rows. Its calls get simulated answers in this process,
    so that chains and agents go on to their next calls; its other connections are refused. Threads
    and tasks that it starts are covered, threads of pools that run already are not.

    Args:
        target: as for :func:`flextier.bulk.run`.
        rows: a ``.jsonl``, ``.csv`` or ``.parquet`` file, or the rows themselves: dicts, or texts.
        policy: fields that override those of the calls' policies, such as ``lanes``. None: none.
        input_column: as for :func:`flextier.bulk.run`.
        sample: the number of rows to call the target on, at most.
        output_tokens: the output tokens that you expect of a call, reasoning included. None: as
            many as earlier calls of the model took by the ledger, or as the calls' limits allow.
        ledger: URL or path of a ledger with earlier calls. None: that of ``FLEXTIER_LEDGER``.

    Raises:
        BulkError: the target or the rows cannot be used.
        PolicyError: a field of the policy is wrong.

    Example::

        print(quote(chain, "reviews.csv", {"lanes": ("batch", "flex", "standard")}))
    """
    if isinstance(rows, (str, os.PathLike)):
        read: Iterator[Row] = source_of(Path(rows)).rows()
    else:
        read = (_row_of(number, values) for number, values in enumerate(rows, 1))
    changes = _changes(policy)
    outputs, outer = earlier_calls(ledger, output_tokens), current_scope()
    with override(**changes):
        deadline = changes.get("deadline")
        return quoted(target, read, input_column, outputs, sample, deadline, outer=outer)


def _row_of(number: int, values: Mapping[str, Any] | str) -> Row:
    return Row(number, {"input": values} if isinstance(values, str) else dict(values), b"")


def _changes(policy: FlexPolicy | PolicyFields | None) -> Any:
    if policy is None:
        return {}
    read = FlexPolicy.of(policy)
    return {name: getattr(read, name) for name in read.explicit}


def _earlier(
    ledger: str | os.PathLike[str] | None,
) -> tuple[dict[str, tuple[int, int]], str]:
    """A ledger's calls and their output tokens by model, and where they are, in words."""
    if ledger is None and not setting(LEDGER):
        return {}, ""
    from flextier.ledger import Ledger, LedgerError  # an extra

    try:
        with Ledger(ledger or setting(LEDGER), readonly=True) as opened:
            groups = opened.sums("model", "lane").items()
    except LedgerError:
        if ledger is not None:
            raise
        return {}, ""  # nothing is written to it yet
    found: dict[str, tuple[int, int]] = {}
    for (model, lane), sums in groups:
        if lane != JOURNAL:  # replayed: its tokens are in an earlier record
            calls, tokens = found.get(model, (0, 0))
            found[model] = calls + sums.calls, tokens + sums.output_tokens
    return found, "in the ledger"


def _answered(done: CostTotals) -> dict[str, tuple[int, int]]:
    """The same of a run's calls. Replays are known by lane only: each model has its share."""
    replays = done.by_lane[JOURNAL].calls if JOURNAL in done.by_lane else 0
    return {
        model: (round(sums.calls * (1 - replays / done.calls)), sums.output_tokens)
        for model, sums in done.by_model.items()
        if done.calls > replays
    }


def quote_run(target: Any, options: RunOptions, outputs: OutputTokens, label: str) -> Quote:
    """The quote of the rows that a run has not finished yet; kept for its receipt."""
    with ExitStack() as stack:
        source = source_of(options.input)
        check_columns(options, first_readable_row(source))
        rows = (_identified(row, options.key) for row in source.rows())
        create_state_dir(options)
        before, spent = _begun(options, label), Decimal(0)
        if before is not None:
            stack.callback(before.close)
            if totals := before.get_meta("totals"):
                done = CostTotals.from_dict(totals)
                spent = done.cost
                if outputs.stated is None:
                    outputs = OutputTokens(None, _answered(done), "of this run")
            rows = (row for row in rows if not _is_finished(row, options, before))
        column, deadline, outer = options.input_column, options.deadline, current_scope()
        if options.lanes is not None:
            stack.enter_context(override(lanes=options.lanes))
        if deadline is not None:
            until = earlier(outer.until, time.time() + deadline)
            stack.enter_context(scoped(until=until))
        found = quoted(target, rows, column, outputs, SAMPLE, deadline, outer=outer, label=label)
        save_quote(options, label, found, spent)
        return found


def _begun(options: RunOptions, label: str) -> CheckpointDB | None:
    """The checkpoints of a run that has begun; None: it has not begun."""
    path = options.state_dir / "rows.db"
    if not path.is_file():
        return None
    database = CheckpointDB(path)
    settings = {"runnable": label, **options.settings}
    before = database.get_meta("settings") or settings
    changed = {name: value for name, value in before.items() if value != settings.get(name)}
    if not changed:
        return database
    database.close()
    if not options.overwrite:
        raise other_run(options, changed)
    return None  # the run discards them


def earlier_calls(ledger: str | os.PathLike[str] | None, stated: int | None) -> OutputTokens:
    """What is known of the output tokens of a run's calls, its own earlier ones left out."""
    if stated is not None:
        _check_positive("output_tokens (--output-tokens)", stated)
    return OutputTokens(stated, *_earlier(ledger))


def _identified(row: Row, key: str | None) -> Row:
    if key is not None:
        row.identify_by(key)
    return row


def _is_finished(row: Row, options: RunOptions, database: CheckpointDB) -> bool:
    found = database.look_up([row.identity]).get(row.identity)
    return found is not None and found.digest == row.digest


def quoted(
    target: Any,
    rows: Iterator[Row],
    input_column: str | None,
    outputs: OutputTokens,
    sample: int,
    deadline: float | None,
    *,
    outer: Scope,
    label: str | None = None,
) -> Quote:
    """The quote of a target over rows, made in a thread with an event loop of its own."""
    _check_positive("sample", sample)
    chosen, count, left_out = _sampled(rows, sample)
    threads = WorkerThreads(1)
    made = target_of(target, threads, label)
    select = input_selector(
        input_column, needs_text=made.needs_text, first=chosen[0] if chosen else None
    )
    errors: Counter[str] = Counter()

    async def call(row: Row) -> list[RecordedCall] | None:
        calls: list[RecordedCall] = []
        CALLS.set(calls)
        try:
            await made.invoke(select(row))
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it makes of simulated answers
            errors[f"{type(error).__name__}: {error}"[:200]] += 1
            if not calls and not isinstance(error, RowProblem):
                return None
        return calls

    async def main() -> list[list[RecordedCall] | None]:
        with recorded(outputs.expected, outer):
            return [await asyncio.create_task(call(row)) for row in chosen]

    try:
        calls = _run(main)
    finally:
        threads.close()
    return quote_of(calls, count, outputs, errors=errors, left_out=left_out, deadline=deadline)


def _check_positive(name: str, number: int) -> None:
    if number < 1:
        raise BulkError(f"{name} must be at least 1, not {number}")


def _sampled(rows: Iterator[Row], most: int) -> tuple[list[Row], int, int]:
    """A sample of the rows that can be run, their number, and that of the others; read once, kept
    never whole."""
    chosen: list[Row] = []
    random, count, left_out = Random(_SEED), 0, 0
    for row in rows:
        if row.problem is not None:
            left_out += 1
            continue
        count += 1
        if len(chosen) < most:
            chosen.append(row)
        elif (place := random.randrange(count)) < most:
            chosen[place] = row
    return chosen, count, left_out


def _run(main: Any) -> Any:
    """Run a coroutine function in an event loop of another thread: notebooks have one in this."""
    result: list[Any] = []
    errors: list[BaseException] = []
    context = copy_context()

    def run() -> None:
        try:
            result.append(asyncio.run(main()))
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=lambda: context.run(run), name="flextier-quote")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return result[0]
