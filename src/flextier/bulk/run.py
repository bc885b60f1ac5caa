"""run() and arun(): a dataset in, a dataset out."""

from __future__ import annotations

import asyncio
from typing import Any

from typing_extensions import Unpack

from flextier._utils.wakeup import running_loop
from flextier.bulk.options import PathLike, RunArguments, RunOptions, lists_arguments, options
from flextier.bulk.progress import progress_callback
from flextier.bulk.result import BulkResult
from flextier.bulk.runner import run_all


@lists_arguments
def run(
    runnable: Any, input: PathLike, output: PathLike, **arguments: Unpack[RunArguments]
) -> BulkResult:
    """Run something over every row of a dataset, and write the responses.

    Finished rows are on the disk within milliseconds, in ``OUTPUT.run/``: however the program ends,
    the same call resumes the run. In the main thread, Ctrl-C and SIGTERM stop the run when the rows
    in flight are finished, a second Ctrl-C at once; the result says so, and nothing is raised.

    Args:
        runnable: a LangChain Runnable; an LLM, query engine, chat engine, agent, workflow or
            evaluator of LlamaIndex; or a function of one argument, async or not (sync ones run in
            threads), whose items are collected if it is a generator.
        input: a ``.jsonl``, ``.csv`` or ``.parquet`` file; it is streamed.
        output: the same; the input's columns and the response. Written when all rows are finished.
        **arguments: :class:`flextier.bulk.options.RunArguments`.

    Raises:
        BulkError: the run cannot begin, or cannot continue.
        PolicyError: the lanes, or an environment variable, are wrong.

    Example::

        result = run(chain, "questions.csv", "answers.csv", lanes=("flex",), budget=5)
        print(result.done, result.failed, result.totals.saved)
    """
    run_options = options(input, output, **arguments)
    if running_loop() is not None:
        raise RuntimeError("run() starts its own event loop: inside a running one, await arun()")
    return asyncio.run(_run(runnable, run_options, with_signals=True))


@lists_arguments
async def arun(
    runnable: Any, input: PathLike, output: PathLike, **arguments: Unpack[RunArguments]
) -> BulkResult:
    """:func:`run` in a running event loop, without its signal handlers.

    When it is cancelled, it abandons the rows in flight at once; finished rows are kept.
    """
    return await _run(runnable, options(input, output, **arguments), with_signals=False)


async def _run(runnable: Any, run_options: RunOptions, *, with_signals: bool) -> BulkResult:
    with progress_callback(run_options.progress) as on_progress:
        return await run_all(
            runnable, run_options, on_progress=on_progress, with_signals=with_signals
        )
