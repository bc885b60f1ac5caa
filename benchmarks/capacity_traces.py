"""What flextier and what people do without it cost on each capacity trace, in virtual time.

The real clients make the calls of every trace that comes with flextier: its own, and the SDK's
retries, LangChain's fallbacks and the usual recipes. No network, no waiting; the same seed gives
the same table on every machine. Costs are by what all calls on standard would have cost: 0.500 is
all of them on flex, and "(clairvoyant)" what an oracle that knows the weather would have paid. The
last two columns are how long calls took.

flextier's patience is the trace's deadline; everything else is as it comes.

    python benchmarks/capacity_traces.py [--json FILE] [--seed N] [TRACE ...]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from flextier import FlexPolicy
from flextier.rehearsal import Trace, formatting, rehearse
from flextier.rehearsal.baselines import PEERS, run_peer
from flextier.rehearsal.result import TraceResult
from flextier.rehearsal.trace import names


def main(arguments: Sequence[str] | None = None) -> None:
    """Run everything; print a table for each trace; write the JSON file if one is asked for."""
    options = _parser().parse_args(arguments)
    records = []
    for trace in traces(options.traces, options.seed):
        outcomes = list(measure(trace))
        records += [outcome.to_dict() for outcome in outcomes]
        print(
            "\n".join([*formatting.heading(trace), "", *formatting.table(outcomes), ""]), flush=True
        )
    if options.json is not None:
        options.json.write_text(json.dumps(records, indent=2) + "\n")


def measure(trace: Trace) -> Iterator[TraceResult]:
    """flextier's outcome, then everybody else's."""
    yield rehearse(trace, policy=FlexPolicy(patience=trace.deadline))
    for name in PEERS:
        yield run_peer(name, trace)


def traces(wanted: Sequence[str] = (), seed: int | None = None) -> Iterator[Trace]:
    """The named traces, or all that come with flextier."""
    for name in wanted or names():
        yield Trace.load(name).replace(seed=seed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Costs on capacity traces, with and without.")
    parser.add_argument("traces", nargs="*", metavar="TRACE", help="a name or a JSON file [all]")
    parser.add_argument(
        "--seed", type=int, metavar="N", help="of the random numbers [each trace's]"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    return parser


if __name__ == "__main__":
    main()
