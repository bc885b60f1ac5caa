"""The command: where the calls go, and in which weather."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# The embedded weather: an outage of six seconds, a dozen slots, some refusals, a few stalls. Real
# outages last longer than anybody wants to watch; the policy's times are scaled down with them.
WEATHER = "outage=1-7,slots=12,refuse=0.1,stall=0.04"
LATENCY = {"flex": (0.2, 0.6), "standard": (0.1, 0.3)}
POLICY = {
    "lanes": ("flex", "standard"),
    "deadline": None,
    "patience": 5,
    "flex_timeout": 2,
    "standard_timeout": 10,
    "max_retries": 2,
    "backoff_initial": 0.3,
    "backoff_max": 2,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``flextier demo`` to a parser."""
    parser.add_argument(
        "--live", action="store_true", help="use the real API, with OPENAI_API_KEY; it costs money"
    )
    parser.add_argument("--model", default="o4-mini", help="the model [%(default)s]")
    parser.add_argument(
        "--topics", type=int, metavar="N", help="only the first N of Python's help topics [all]"
    )
    parser.add_argument(
        "--concurrency", type=int, default=16, metavar="N", help="calls at a time [%(default)s]"
    )
    parser.add_argument(
        "--weather", metavar="SPEC", default=WEATHER, help="the simulated weather [%(default)s]"
    )
    parser.add_argument("--seed", type=int, default=4, help="of the weather [%(default)s]")


def run(options: argparse.Namespace) -> int:
    """Run the demo; returns 0 if every topic was answered, 1 if one was lost, 2 if it cannot."""
    if options.live and not os.environ.get("OPENAI_API_KEY"):
        print("flextier demo --live needs a key: set OPENAI_API_KEY", file=sys.stderr)
        return 2
    for name in ("topics", "concurrency"):
        number = getattr(options, name)
        if number is not None and number < 1:
            print(f"flextier demo: --{name} must be at least 1, not {number}", file=sys.stderr)
            return 2
    # Here, so that `--help` needs no LangChain; and before the weather's clock starts.
    from flextier.demo import show, work

    try:
        with _provider(options) as (connection, simulator):
            screen = show.Show(options.weather if simulator else None)
            chain = work.make_chain(model=options.model, **connection)
            texts = work.topics(options.topics)
            with screen.progress(len(texts)):
                summaries = work.summarise(chain, texts, options.concurrency, screen.row)
                rows = asyncio.run(summaries)
            screen.summary(rows, simulator.stats() if simulator else None)
    except ValueError as error:
        print(f"flextier demo: {error}", file=sys.stderr)
        return 2
    return 0 if all(row.note for row in rows) else 1


@contextmanager
def _provider(options: argparse.Namespace) -> Iterator[tuple[dict[str, Any], Any]]:
    """The arguments of the model, and the simulator if that is where they lead."""
    if options.live:
        yield {}, None
        return
    from flextier.sim import Simulator, Weather

    weather = Weather.parse(options.weather)
    with Simulator(seed=options.seed, record_bodies=False) as simulator:
        simulator.weather = _with_latency(weather)
        yield (
            {"base_url": simulator.base_url, "api_key": "simulated", "policy": POLICY},
            simulator,
        )


def _with_latency(weather: Any) -> Any:
    from dataclasses import replace

    return replace(
        weather,
        flex_latency=weather.flex_latency or LATENCY["flex"],
        standard_latency=weather.standard_latency or LATENCY["standard"],
    )
