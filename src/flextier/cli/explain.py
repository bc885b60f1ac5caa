"""``flextier explain``: the ladder that ``lanes="auto"`` makes of a model and a deadline."""

from __future__ import annotations

import argparse
import json
import sys

APIS = ("responses", "chat")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``flextier explain`` to a parser."""
    parser.add_argument("--model", required=True, help="its name")
    parser.add_argument(
        "--deadline",
        metavar="SPAN",
        help="for one call: seconds, 90m, 6h, 1h30m, 2d, or a time of day such as 06:00 "
        "[FLEXTIER_DEADLINE, else none]",
    )
    parser.add_argument(
        "--api", choices=APIS, default=APIS[0], help="responses, or chat completions [responses]"
    )
    parser.add_argument("--stream", action="store_true", help="of a call that is streamed")
    parser.add_argument(
        "--step", action="store_true", help="of an agent's call, which others wait for"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(options: argparse.Namespace) -> int:
    """Print it; returns 0, or 2 for a setting that cannot be."""
    from flextier.auto.explanation import explain
    from flextier.auto.formatting import as_json, table
    from flextier.bulk.durations import seconds
    from flextier.report import output

    try:
        deadline = None if options.deadline is None else seconds(options.deadline)
        plan = explain(
            options.model,
            deadline=deadline,
            api=options.api,
            stream=options.stream,
            step=options.step,
        )
        told = json.dumps(as_json(plan), indent=2) + "\n" if options.json else table(plan)
        output.write(told, None)
    except (ValueError, OSError) as error:
        print(f"flextier explain: {error}", file=sys.stderr)
        return 2
    return 0
