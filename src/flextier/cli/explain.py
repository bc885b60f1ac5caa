"""``flextier explain``: the lanes that ``lanes="auto"`` chooses for a model and a deadline."""

from __future__ import annotations

import argparse
import time

from flextier.cli._common import DURATION, duration, fail, time_of_day, write_json, write_stdout

APIS = ("responses", "chat")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``flextier explain`` to a parser."""
    parser.add_argument("--model", required=True, help="name of the model")
    parser.add_argument(
        "--deadline",
        type=duration,
        metavar=DURATION,
        help="deadline of one call: seconds, 90m, 6h, 1h30m, 2d [FLEXTIER_DEADLINE, else none]",
    )
    parser.add_argument(
        "--until",
        type=time_of_day,
        metavar="CLOCK",
        help="the same as a time of day, such as 06:00",
    )
    parser.add_argument(
        "--api", choices=APIS, default=APIS[0], help="responses, or chat completions [responses]"
    )
    parser.add_argument("--stream", action="store_true", help="the call is streamed")
    parser.add_argument(
        "--step", action="store_true", help="the call is a step of a run, such as an agent's"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print the plan; return 0, or 2 for an invalid setting."""
    from flextier.auto import as_json, explain, table

    deadline = options.deadline
    if options.until is not None:
        left = options.until - time.time()
        deadline = left if deadline is None else min(deadline, left)
    try:
        plan = explain(
            options.model,
            deadline=deadline,
            api=options.api,
            stream=options.stream,
            step=options.step,
        )
    except (ValueError, OSError) as error:
        return fail("explain", error)
    if options.json:
        return write_json("explain", as_json(plan))
    return write_stdout("explain", table(plan))
