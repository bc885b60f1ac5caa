"""All benchmarks, each in a fresh process, as a table.

They report and do not judge: the exit status is 0 also when a target is missed. What fails is
only a benchmark that could not be run.

    python benchmarks/run_all.py [--json FILE] [--rounds N]
    python benchmarks/run_all.py --throughput [--json FILE] [--rounds N]
    python benchmarks/run_all.py --scale [--json FILE]
    python benchmarks/run_all.py --bulk
    python benchmarks/run_all.py --background
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path

import call_overhead
import conversations
import handler_overhead
import import_time
import ledger_overhead
import scale
import stream_overhead
import throughput
from _measure import Result

import flextier
import pricing

_BENCHMARKS: tuple[Callable[..., list[Result]], ...] = (
    import_time.measure,
    call_overhead.measure,
    conversations.measure,
    stream_overhead.measure,
    pricing.measure,
    handler_overhead.measure,
    ledger_overhead.measure,
)
_PACKAGES = (
    "openai",
    "httpx2",
    "httpx",
    "langchain-openai",
    "pydantic",
    "tenacity",
    "genai-prices",
    "sqlalchemy",
)
_COLUMNS = ("benchmark", "ratio", "middle half", "added", "target", "")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run everything; print the table; write the JSON file if one is asked for."""
    options = _parser().parse_args(arguments)
    if options.throughput:
        throughput.report(options.rounds or throughput.ROUNDS, options.json)
        return
    if options.scale:
        scale.report(file=options.json)
        return
    if options.bulk:
        _run_alone("batch_lane.py")
        _run_alone("bulk.py")
        _run_alone("bulk_crashes.py", "--lanes", "batch")
        _run_alone("bulk_crashes.py")
        return
    if options.background:
        _run_alone("background_agents.py")
        _run_alone("background_crashes.py")
        _run_alone("background_pending.py")
        return
    results = [result for measure in _BENCHMARKS for result in _run(measure, options.rounds)]
    print("\n".join(table(results)))
    if options.json is not None:
        document = {"versions": _versions(), "results": [result.to_dict() for result in results]}
        options.json.write_text(json.dumps(document, indent=2) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="CPU time with flextier, by that without it.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there, too")
    parser.add_argument(
        "--rounds", type=int, metavar="N", help="rounds of each, 2 or more [each benchmark's own]"
    )
    parser.add_argument(
        "--throughput", action="store_true", help="many async calls at once instead; minutes"
    )
    parser.add_argument(
        "--scale", action="store_true", help="a call's CPU and memory by how many there are instead"
    )
    parser.add_argument(
        "--bulk", action="store_true", help="the batch lane and bulk runs instead; a quarter hour"
    )
    parser.add_argument(
        "--background", action="store_true", help="the background lanes instead; ten minutes"
    )
    return parser


def _run_alone(script: str, *arguments: str) -> None:
    """A script that prints by itself, in a process of its own."""
    print(f"\n{script} {' '.join(arguments)}".rstrip(), flush=True)
    subprocess.run([sys.executable, Path(__file__).with_name(script), *arguments], check=False)


def _run(measure: Callable[..., list[Result]], rounds: int | None) -> list[Result]:
    """The results of one benchmark, from a process that has run no other one."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(measure, *(() if rounds is None else (rounds,))).result()


def table(results: Sequence[Result]) -> list[str]:
    """The results as lines, in aligned columns."""
    rows = [_COLUMNS, *map(_row, results)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _row(result: Result) -> tuple[str, ...]:
    target = "" if result.target is None else f"{result.target:.2f}"
    ratio = f"{result.ratio:.3f}"
    return (result.name, ratio, result.spread, result.extra, target, result.verdict)


def _versions() -> dict[str, str | None]:
    found = {name: _version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), "flextier": flextier.__version__, **found}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
