"""``flextier run``: the bulk runner as a command."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
from typing import TYPE_CHECKING

from flextier.cli._common import DURATION, fail, write_stdout

if TYPE_CHECKING:
    from flextier.bulk.options import RunOptions
    from flextier.bulk.result import BulkResult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``flextier run`` to a parser."""
    parser.add_argument(
        "runnable",
        metavar="MODULE:RUNNABLE",
        help="a LangChain Runnable; an LLM, engine, agent, workflow or evaluator of LlamaIndex; or "
        "a function, async or not; a factory of one with () at its end",
    )
    parser.add_argument("source", metavar="INPUT", help="a .jsonl, .csv or .parquet file")
    parser.add_argument("output", metavar="OUTPUT", help="the same; OUTPUT.run/ keeps what is done")
    parser.add_argument(
        "--input",
        dest="input_column",
        metavar="COLUMN",
        help="what the runnable is given [the row, or the obvious text]",
    )
    parser.add_argument(
        "--output-column", default="output", metavar="COLUMN", help="for the answers [%(default)s]"
    )
    parser.add_argument("--key", metavar="COLUMN", help="what rows are known by [their line]")
    parser.add_argument("--lanes", metavar="LANES", help="such as flex,standard [the client's]")
    parser.add_argument(
        "--deadline", metavar=DURATION, help="for the whole run: 3600, 90m, 6h, 1h30m, 2d [none]"
    )
    parser.add_argument("--until", metavar="CLOCK", help="the same as a time of day: 06:00 [none]")
    parser.add_argument(
        "--concurrency",
        type=int,
        metavar="N",
        help="rows at a time [64; with batch, auto, or background and no budget 50000]",
    )
    parser.add_argument("--budget", metavar="US$", help="for all starts of the run [none]")
    parser.add_argument(
        "--order", choices=("input", "done"), default="input", help="of the output [%(default)s]"
    )
    parser.add_argument(
        "--with-cost", action="store_true", help="add the columns lane, cost, standard_cost"
    )
    parser.add_argument(
        "--retry-errors", action="store_true", help="run rows again that failed before"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an OUTPUT that is not of this run"
    )
    parser.add_argument("--errors", metavar="FILE", help="for failed rows [OUTPUT.errors.jsonl]")
    parser.add_argument(
        "--submit",
        action="store_true",
        help="end when batches and background responses are created; fetch what is done",
    )
    parser.add_argument(
        "--collect", action="store_true", help="fetch what was submitted and is done; send no more"
    )
    parser.add_argument(
        "--receipt", metavar="FILE", help="for what was quoted, paid and saved, as JSON [none]"
    )
    parser.add_argument("--json", action="store_true", help="progress and result as lines of JSON")
    parser.add_argument(
        "--quote", action="store_true", help="say what the rows are going to cost; send nothing"
    )
    parser.add_argument(
        "--output-tokens",
        type=int,
        metavar="N",
        help="of a call, for the quote [as earlier calls took, or the calls' limit]",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the rows; returns 0: all are done, 1: some failed or are pending, 2: it cannot begin.

    130 after Ctrl-C. With --submit, 0 also if what is not done is submitted; with --collect, 3 if
    rows are pending. A quote returns 0, or 1 if its cost is unknown.
    """
    # Imported here, so that `--help` loads no client.
    from flextier.bulk.errors import BulkError, InputError, StorageError
    from flextier.bulk.progress import summary
    from flextier.errors import PolicyError

    try:
        if arguments.quote:
            return _quote(arguments, _options(arguments))
        result = _run(arguments, _options(arguments))
    except (InputError, StorageError) as error:
        return fail("run", error, 1)
    except (BulkError, PolicyError) as error:
        return fail("run", error, 2)
    except KeyboardInterrupt:  # before the run heeds it itself: nothing has begun
        return 130
    if arguments.json:
        text = json.dumps({"event": "result", **result.to_dict()})
    else:
        text = "\n".join(summary(result))
    if sys.stdout is not None:
        write_stdout("run", f"{text}\n")
    return result.exit_status


def _options(arguments: argparse.Namespace) -> RunOptions:
    from flextier.bulk.options import RunArguments, options
    from flextier.bulk.progress import json_lines

    given = {
        name: arg for name, arg in vars(arguments).items() if name in RunArguments.__annotations__
    }
    if arguments.json and sys.stdout is not None:
        given["progress"] = json_lines(sys.stdout)
    return options(arguments.source, arguments.output, **given)


def _quote(arguments: argparse.Namespace, options: RunOptions) -> int:
    from flextier.bulk.errors import BulkError
    from flextier.bulk.quoting import earlier_calls, quote_run
    from flextier.bulk.runnables import load

    if options.submit or options.collect:
        raise BulkError("quote (--quote) sends nothing: leave --submit and --collect out")
    outputs = earlier_calls(None, arguments.output_tokens)
    quote = quote_run(load(arguments.runnable), options, outputs, arguments.runnable)
    text = json.dumps({"event": "quote", **quote.to_dict()}) if arguments.json else str(quote)
    return write_stdout("run", f"{text}\n") or (1 if quote.high is None else 0)


def _run(arguments: argparse.Namespace, options: RunOptions) -> BulkResult:
    from flextier.bulk.progress import progress_callback
    from flextier.bulk.runnables import load
    from flextier.bulk.runner import run_all

    runnable = load(arguments.runnable)
    # The imported objects stay: the garbage collector need not walk through them for every row.
    gc.collect()
    gc.freeze()
    with progress_callback(options.progress) as on_progress:
        return asyncio.run(
            run_all(
                runnable,
                options,
                label=arguments.runnable,
                on_progress=on_progress,
                with_signals=True,
            )
        )
