"""What flextier and what people do without it cost on each capacity trace, in virtual time.

The real clients make the calls of every trace that comes with flextier: its own, and the SDK's
retries, LangChain's fallbacks and the usual recipes. No network, no waiting; the same seed gives
the same table on every machine. Costs are by what all calls on standard would have cost: 0.500 is
all of them on flex, and "(clairvoyant)" what an oracle that knows the weather would have paid. The
last two columns are how long calls took.

flextier's patience is the trace's deadline; everything else is as it comes, but for the two traces
of half a minute at the end: their backoff and reserve are as short as they are. ``--real`` runs
flextier alone, in real time against the simulator behind a socket, on those two.

    python benchmarks/capacity_traces.py [--real] [--json FILE] [--seed N] [TRACE ...]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from _provider import simulator

from flextier import AsyncFlexOpenAI, FlexPolicy, track
from flextier.rehearsal import Trace, formatting, rehearse
from flextier.rehearsal.baselines import PEERS, run_peer
from flextier.rehearsal.result import TraceResult
from flextier.rehearsal.simulate import PROMPT
from flextier.rehearsal.trace import names

_TIMES = {"flex_latency": 0.8, "standard_latency": 0.8, "refusal_latency": 0.005}

SHORT: dict[str, dict[str, Any]] = {
    "short-outages": {
        "about": "Shut for 6 s, ten slots for 8 s, shut for 8 s, ten slots for 10 s, shut.",
        "weather": {"steps": [[0, 0], [6, 10], [14, 0], [22, 10], [32, 0]], **_TIMES},
        "jobs": 150,
        "deadline": 38,
    },
    "limit-a-second": {
        "about": "Shut for 10 s, then 20 slots; refused requests count in 20 in any second.",
        "weather": {"steps": [[0, 0], [10, 20]], "rpm": 1200, "rpm_window": 1, **_TIMES},
        "jobs": 250,
        "deadline": 32,
    },
}
"""Traces of half a minute, to be run in real time, too."""

SHORT_WAITS: Any = {"backoff_initial": 0.1, "backoff_max": 6, "standard_reserve": 4}
"""The policy under which they are run: their outages are a few seconds long."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run everything; print a table for each trace; write the JSON file if one is asked for."""
    options = _parser().parse_args(arguments)
    if options.real:
        for name in options.traces or SHORT:
            print(real_time(name), flush=True)
        return
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
    yield rehearse(trace, policy=_policy(trace))
    for name in PEERS:
        yield run_peer(name, trace)


def real_time(name: str) -> str:
    """How the calls of a short trace ended over real sockets, in a line."""
    trace = _trace(name)
    with simulator(SHORT[name]["weather"]) as base_url, track() as calls:
        began = time.monotonic()
        asyncio.run(_call_all(trace, base_url))
        seconds = time.monotonic() - began
    outcomes = Counter(attempt.outcome for call in calls for attempt in call.attempts)
    lanes = Counter(call.lane for call in calls if call.served)
    late = sum(call.elapsed > trace.deadline for call in calls if call.served)
    return (
        f"{name} in real time: {dict(lanes)} of {trace.jobs}, {late} late, "
        f"{outcomes['capacity'] / trace.jobs:.2f} refusals and "
        f"{outcomes['rate_limited'] / trace.jobs:.2f} rate limits a call, {seconds:.0f} s"
    )


async def _call_all(trace: Trace, base_url: str) -> None:
    policy = _policy(trace).replace(deadline=trace.deadline)
    async with AsyncFlexOpenAI(policy=policy, base_url=base_url, api_key="benchmark") as client:
        create = client.chat.completions.create
        asks = (create(model=job.model, messages=PROMPT) for job in trace.work)
        await asyncio.gather(*asks, return_exceptions=True)


def _policy(trace: Trace) -> FlexPolicy:
    waits = SHORT_WAITS if trace.name in SHORT else {}
    return FlexPolicy(patience=trace.deadline, **waits)


def traces(wanted: Sequence[str] = (), seed: int | None = None) -> Iterator[Trace]:
    """The named traces; else all that come with flextier, and the short ones."""
    for name in wanted or [*names(), *SHORT]:
        yield _trace(name).replace(seed=seed)


def _trace(name: str) -> Trace:
    return Trace.from_dict({"name": name, **SHORT[name]}) if name in SHORT else Trace.load(name)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Costs on capacity traces, with and without.")
    parser.add_argument("traces", nargs="*", metavar="TRACE", help="a name or a JSON file [all]")
    parser.add_argument(
        "--seed", type=int, metavar="N", help="of the random numbers [each trace's]"
    )
    parser.add_argument("--real", action="store_true", help="the short ones, in real time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    return parser


if __name__ == "__main__":
    main()
