"""run() and arun(): a dataset in, a dataset out."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, Literal

from flextier.bulk.durations import Span
from flextier.bulk.options import RunOptions, options
from flextier.bulk.progress import showing
from flextier.bulk.result import BulkResult, Progress
from flextier.bulk.runner import run_all

ProgressOption = bool | Callable[[Progress], object] | None
PathLike = str | os.PathLike[str]


def run(
    runnable: Any,
    input: PathLike,
    output: PathLike,
    *,
    key: str | None = None,
    input_column: str | None = None,
    output_column: str = "output",
    lanes: str | Iterable[str] | None = None,
    deadline: Span | None = None,
    concurrency: int | None = None,
    budget: Decimal | int | float | str | None = None,
    order: Literal["input", "done"] = "input",
    with_cost: bool = False,
    retry_errors: bool = False,
    overwrite: bool = False,
    errors: PathLike | None = None,
    progress: ProgressOption = None,
) -> BulkResult:
    """Run something over every row of a dataset, and write what it answers.

    Finished rows are on the disk within milliseconds, in ``OUTPUT.run/``: whatever ends the
    program, the same call again goes on where it was. In the main thread, Ctrl-C and SIGTERM end
    the run gently, and the second Ctrl-C at once; the result says so, and nothing is raised.

    Args:
        runnable: a LangChain Runnable, an LLM, query engine or chat engine of LlamaIndex, or a
            function of one argument, async or not (those that are not run in threads).
        input: a ``.jsonl``, ``.csv`` or ``.parquet`` file; it is streamed.
        output: the same; the input's columns and the answer. Written when all rows are finished.
        key: the column that rows are known by across starts. None: by their line.
        input_column: what the runnable is given. None: the whole row as a dict; where a text is
            needed, the only column, or the one called prompt, input, question, query or text.
        output_column: the column for the answers.
        lanes: the ladder of the calls, such as ``("flex",)``. None: that of their client.
        deadline: for the whole run: seconds, ``"6h"``, ``"90m"``, or a time of day like
            ``"06:00"``. None: none. When it is over, rows that were not done stay pending.
        concurrency: rows under way at a time. None: 64; with the batch lane 50,000.
        budget: US$ for the whole run, however often it is started. None: no limit.
        order: of the output: ``"input"``, or ``"done"``, as they are finished; then, with JSON
            lines, ``OUTPUT.part`` has them while the run goes on.
        with_cost: add the columns lane, cost and standard_cost.
        retry_errors: run rows again that failed in an earlier start. False: they stay failed.
        overwrite: replace an output that is not of this run.
        errors: where failed rows go. None: ``OUTPUT.errors.jsonl``.
        progress: None: a bar, if standard error is a terminal; True: at any rate; False: none; a
            function: called with a :class:`Progress`, ten times a second.

    Raises:
        BulkError: the run cannot begin, or cannot go on.
        PolicyError: the lanes, or a variable of the environment, cannot be.

    Example::

        result = run(chain, "questions.csv", "answers.csv", lanes=("flex",), budget=5)
        print(result.done, result.failed, result.totals.saved)
    """
    run_options = options(
        input,
        output,
        key=key,
        input_column=input_column,
        output_column=output_column,
        lanes=lanes,
        deadline=deadline,
        concurrency=concurrency,
        budget=budget,
        order=order,
        with_cost=with_cost,
        retry_errors=retry_errors,
        overwrite=overwrite,
        errors=errors,
    )
    _refuse_a_running_loop()
    return asyncio.run(_shown(runnable, run_options, progress, with_signals=True))


async def arun(
    runnable: Any,
    input: PathLike,
    output: PathLike,
    *,
    key: str | None = None,
    input_column: str | None = None,
    output_column: str = "output",
    lanes: str | Iterable[str] | None = None,
    deadline: Span | None = None,
    concurrency: int | None = None,
    budget: Decimal | int | float | str | None = None,
    order: Literal["input", "done"] = "input",
    with_cost: bool = False,
    retry_errors: bool = False,
    overwrite: bool = False,
    errors: PathLike | None = None,
    progress: ProgressOption = None,
) -> BulkResult:
    """:func:`run` in a running event loop.

    Signals are left alone. Cancelled, it gives up the rows under way at once; what is finished is
    kept.
    """
    run_options = options(
        input,
        output,
        key=key,
        input_column=input_column,
        output_column=output_column,
        lanes=lanes,
        deadline=deadline,
        concurrency=concurrency,
        budget=budget,
        order=order,
        with_cost=with_cost,
        retry_errors=retry_errors,
        overwrite=overwrite,
        errors=errors,
    )
    return await _shown(runnable, run_options, progress, with_signals=False)


async def _shown(
    runnable: Any, run_options: RunOptions, progress: ProgressOption, *, with_signals: bool
) -> BulkResult:
    with showing(progress) as on_progress:
        return await run_all(
            runnable, run_options, on_progress=on_progress, with_signals=with_signals
        )


def _refuse_a_running_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError("run() has an event loop of its own: inside another one, await arun()")
