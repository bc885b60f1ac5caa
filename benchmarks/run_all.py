"""All benchmarks that have goals, each in a fresh process, as one table for both SDK majors.

They report and do not judge: the exit status is 0 also when a goal is missed. What cannot be run,
for want of an environment or a package, is named below the table, with the command that sets it up.

    python benchmarks/run_all.py [--openai3 PYTHON] [--only PART ...] [--rounds N] [--json FILE]
    python benchmarks/run_all.py --throughput [--json FILE] [--rounds N]
    python benchmarks/run_all.py --scale [--json FILE]
    python benchmarks/run_all.py --bulk
    python benchmarks/run_all.py --background
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from _goals import Figure, added, ratio, table

SET_UP = "make bench"
"""What sets up the environments of both majors."""

Part = Callable[[dict[str, int]], list[Figure]]
"""Measures; its argument is empty, or has the number of rounds."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run everything; print the table; write the JSON file if one is asked for."""
    options = _parser().parse_args(arguments)
    if options.part is not None:
        figures = PARTS[options.part](_rounds(options.rounds))
        print(json.dumps([asdict(figure) for figure in figures]))
    elif options.versions:
        print(json.dumps({name: _version(name) for name in _PACKAGES}))
    elif options.throughput:
        import throughput

        throughput.report(options.rounds or throughput.ROUNDS, options.json)
    elif options.scale:
        import scale

        scale.report(file=options.json)
    elif options.bulk:
        _run_alone("batch_lane.py")
        _run_alone("bulk.py")
        _run_alone("bulk_tools.py")
        _run_alone("bulk_crashes.py", "--lanes", "batch")
        _run_alone("bulk_crashes.py")
    elif options.background:
        _run_alone("background_agents.py")
        _run_alone("background_crashes.py")
        _run_alone("background_pending.py")
    else:
        _run_all(options)


def _rounds(rounds: int | None) -> dict[str, int]:
    return {} if rounds is None else {"rounds": rounds}


# --- the parts: each in a process of its own ------------------------------------------------------


def _ratios(module: str) -> Part:
    def measure(rounds: dict[str, int]) -> list[Figure]:
        return [ratio(result) for result in import_module(module).measure(**rounds)]

    return measure


def _handlers(rounds: dict[str, int]) -> list[Figure]:
    import handler_overhead

    results = handler_overhead.measure(**rounds)
    return [added(result, handler_overhead.TARGETS.get(result.name)) for result in results]


def _ledger(rounds: dict[str, int]) -> list[Figure]:
    import ledger_overhead

    return [added(result) for result in ledger_overhead.measure(**rounds)]


def _throughput(rounds: dict[str, int]) -> list[Figure]:
    import throughput

    compared = throughput.ratios(throughput.measure(**rounds, at_once=(100, 500)))
    return [
        Figure(one.name, one.ratio, f"{one.ratio:.2f} (CPU {one.cpu:.2f})", one.target, True)
        for one in compared
    ]


def _bulk(rounds: dict[str, int]) -> list[Figure]:
    import bulk

    measured = bulk.measure(5_000, rounds.get("rounds", 5), bulk.CONCURRENCY, "fast", bulk.NAMES)
    return [
        Figure(f"{bulk.OURS} over {other}, rows/s", speed, f"{speed:.2f}", goal, True)
        for other, goal in ((bulk.AIOHTTP, 0.95), (bulk.HTTPX, None))
        for speed in [bulk.over(measured, other)]
    ]


def _traces(_rounds: dict[str, int]) -> list[Figure]:
    from capacity_traces import measure, traces

    results = [next(measure(trace)) for trace in traces()]  # flextier's comes first
    at_random = [result for result in results if result.trace.name == "refusals"]
    others = [result for result in results if result not in at_random]
    return [
        _worst("cost over the clairvoyant's", results, lambda one: 1 + (one.distance or 0), 1.02),
        _worst("late or failed", results, lambda one: one.late + one.failed, 0),
        _worst("refusals an answer", others, lambda one: one.refusals_an_answer or 0, 0.5),
        _worst(
            "refusals an answer, at random", at_random, lambda one: one.refusals_an_answer or 0, 1.3
        ),
    ]


def _worst(name: str, results: list[Any], value: Callable[[Any], float], goal: float) -> Figure:
    worst = max(results, key=value)
    shown = f"{value(worst):.3g} ({worst.trace.name})"
    return Figure(f"traces: {name}, the worst", value(worst), shown, goal)


def _batch(_rounds: dict[str, int]) -> list[Figure]:
    import batch_lane

    megabytes = batch_lane.peak_megabytes(50_000)
    name = "batch lane, 50,000 LangChain calls, memory"
    return [Figure(name, megabytes, f"{megabytes:,.0f} MB", 1_000)]


PARTS: dict[str, Part] = {
    "import": _ratios("import_time"),
    "conversations": _ratios("conversations"),
    "calls": _ratios("call_overhead"),
    "llama_index": _ratios("llama_index_overhead"),
    "streams": _ratios("stream_overhead"),
    "handlers": _handlers,
    "throughput": _throughput,
    "bulk": _bulk,
    "batch": _batch,
    "pricing": _ratios("pricing"),
    "ledger": _ledger,
    "traces": _traces,
}
"""In the order of the table."""

_ONCE = frozenset({"batch", "pricing", "ledger", "traces"})
"""Parts in which the SDK's major makes no difference, or that take long."""


# --- all of them, under both majors ---------------------------------------------------------------


def _run_all(options: argparse.Namespace) -> None:
    pythons = {"openai 2": Path(sys.executable), "openai 3": options.openai3}
    missing: list[str] = []
    columns: list[tuple[str, list[Figure]]] = []
    versions = {}
    for major, python in pythons.items():
        if python is None or not Path(python).exists():
            missing.append(f"{major}: no environment; `{SET_UP}` sets it up")
            continue
        versions[major] = found = _versions(python)
        figures: list[Figure] = []
        for part in options.only:
            if part in _ONCE and columns:
                continue
            lacks = [package for package in _NEEDS.get(part, ()) if found[package] is None]
            if lacks:
                missing.append(f"{part} under {major}: {', '.join(lacks)} is not installed")
                continue
            print(f"{major}: {part}", file=sys.stderr, flush=True)
            try:
                figures += _run(python, part, options.rounds)
            except subprocess.CalledProcessError as error:
                missing.append(f"{part} under {major}: failed: {error.stderr.splitlines()[-1]}")
        columns.append((f"openai {found['openai']}", figures))
    print("\n".join(table(columns)))
    print("\n".join(["", *(f"not measured: {line}" for line in missing)]).rstrip())
    if options.json is not None:
        results = {head: [asdict(figure) for figure in figures] for head, figures in columns}
        document = {"versions": versions, "results": results, "missing": missing}
        options.json.write_text(json.dumps(document, indent=2) + "\n")


def _run(python: Path, part: str, rounds: int | None) -> list[Figure]:
    """The figures of one part, from a process that has run no other one."""
    command = [python, __file__, "--part", part]
    command += [] if rounds is None else ["--rounds", str(rounds)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [Figure(**one) for one in json.loads(done.stdout.splitlines()[-1])]


_NEEDS = {
    "llama_index": ("llama-index-llms-openai",),
    "throughput": ("httpx-aiohttp",),
    "bulk": ("httpx-aiohttp",),
}
"""Packages without which a part cannot be run."""

_PACKAGES = (
    "openai",
    "httpx2",
    "httpx",
    "httpx-aiohttp",
    "langchain-openai",
    "llama-index-llms-openai",
    "pydantic",
    "tenacity",
    "genai-prices",
    "sqlalchemy",
    "flextier",
)


def _versions(python: Path) -> dict[str, str | None]:
    done = subprocess.run(
        [python, __file__, "--versions"], check=True, capture_output=True, text=True
    )
    found: dict[str, str | None] = json.loads(done.stdout)
    return found


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _run_alone(script: str, *arguments: str) -> None:
    """A script that prints by itself, in a process of its own."""
    print(f"\n{script} {' '.join(arguments)}".rstrip(), flush=True)
    subprocess.run([sys.executable, Path(__file__).with_name(script), *arguments], check=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="What flextier costs and saves, beside its goals.")
    parser.add_argument("--openai3", type=Path, metavar="PYTHON", help="an environment's, with 3.x")
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help="[all]"
    )
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
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--versions", action="store_true", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
