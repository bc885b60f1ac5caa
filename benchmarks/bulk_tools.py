"""``flextier run`` beside what people would use in its place, in weather that refuses.

The same rows and the same server, the simulator in a process of its own, in three kinds of weather,
all with outages again and again (``WEATHERS``). Each program is as its makers show it, in a fresh
process, and others in an environment that this script builds. Shown are rows a second, refusals,
what was billed by what the answered rows would cost on standard, responses paid for beyond one for
each of these, and rows without a response.

A batch takes as long as the simulator says (``BATCH_SECONDS``, a guess), so rows a second of those
that use the Batch API compare with each other only.

    python benchmarks/bulk_tools.py [--rows N] [--rows-at-once N] [--weather NAME ...]
                                    [--only NAME ...] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from _bulk_programs import PROGRAMS
from _provider import simulator

from bulk import RUNNABLE, write_rows
from flextier.costs import Usage, price

ROWS, AT_ONCE = 2_000, 64
BATCH_SECONDS = 20
LIMIT = 900
"""Seconds for a program."""

REQUIREMENTS = (
    "autobatcher==0.12.0",
    "langchain-openai==1.7.4",
    "litellm==1.110.2",
    "openai[aiohttp]==2.54.0",
    "aiohttp==3.14.5",
)
ROOT = Path(__file__).parents[1]
HOME = ROOT / ".clients" / "bulk-tools"

_ALWAYS: dict[str, Any] = {
    # Whenever a program starts, it meets the same: thirty seconds open, ten shut.
    "outages": [[start, start + 10] for start in range(30, 6000, 40)],
    "flex_latency": [0.2, 0.6],
    "standard_latency": [0.2, 0.6],
    "batch": {"validating": 1, "seconds": BATCH_SECONDS},
}
WEATHERS: dict[str, dict[str, Any]] = {
    "slots": {**_ALWAYS, "slots": 48},
    "random": {**_ALWAYS, "refuse": 0.3},
    "both": {**_ALWAYS, "slots": 48, "refuse": 0.1},
}
"""Fewer slots than rows at once; three requests of ten refused at random; a tenth, and slots."""

OURS = {
    "flextier run": (),
    "flextier run --lanes batch,flex,standard": ("--lanes", "batch,flex,standard"),
}
"""Our command, and its arguments."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a program did with the rows."""

    program: str
    per_second: float
    """Rows with a response, a second."""
    refusals: int
    cost: float
    """What was billed, by what the rows that have a response would cost on standard."""
    twice: int
    """Responses billed beyond one for each of these."""
    lost: int
    """Rows without a response in the output."""


def measure(
    program: str, weather: str, rows: int, at_once: int, command: list[str] | None = None
) -> Outcome:
    """Run one program, in a directory and against a server of its own.

    ``command`` runs a program that is not of this file.
    """
    with TemporaryDirectory() as directory, simulator(WEATHERS[weather]) as base_url:
        place = Path(directory)
        write_rows(place / "in.jsonl", rows)
        (place / "work.py").write_text(RUNNABLE)
        environment = {
            **os.environ,
            "OPENAI_BASE_URL": base_url,
            "OPENAI_API_KEY": "benchmark",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        }
        done = subprocess.run(
            command or _command(program, at_once),
            cwd=place,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=(place / "log.txt").open("w"),
            text=True,
            timeout=LIMIT,
            check=False,
        )
        if done.returncode:
            log = (place / "log.txt").read_text()[-2000:]
            raise RuntimeError(f"{program} ended with {done.returncode}: {log}")
        with (place / "out.jsonl").open() as file:
            answered = len({json.loads(line)["id"] for line in file})
        with urllib.request.urlopen(base_url.removesuffix("/v1") + "/stats") as answer:
            stats = json.load(answer)
    elapsed = json.loads(done.stdout.splitlines()[-1])["elapsed"]
    requests, cost, standard = _bill(stats["billed"])
    return Outcome(
        program,
        per_second=answered / elapsed,
        refusals=stats["refusals"],
        cost=float(cost / standard) * requests / answered if answered else 0.0,
        twice=requests - answered,
        lost=rows - answered,
    )


def _command(program: str, at_once: int) -> list[str]:
    if program not in OURS:
        script = str(Path(__file__).with_name("_bulk_programs.py"))
        return [str(_environment()), script, program, str(at_once)]
    command = [sys.executable, "-c", "import sys; from flextier.cli import main; sys.exit(main())"]
    command += ["run", "work:ask", "in.jsonl", "out.jsonl", "--json", *OURS[program]]
    return command if OURS[program] else [*command, "--concurrency", str(at_once)]


def _bill(billed: dict[str, dict[str, dict[str, int]]]) -> tuple[int, Decimal, Decimal]:
    """Responses billed, what they cost, and what they would have cost on standard."""
    requests, cost, standard = 0, Decimal(0), Decimal(0)
    for model, tiers in billed.items():
        for tier, counts in tiers.items():
            usage = Usage(**{field.name: counts[field.name] for field in fields(Usage)})
            lane = "standard" if tier == "default" else tier
            requests += counts["requests"]
            cost += _price(usage, model, lane)
            standard += _price(usage, model, "standard")
    return requests, cost, standard


def _price(usage: Usage, model: str, lane: str) -> Decimal:
    total = price(usage, model=model, lane=lane).total
    if total is None:
        raise RuntimeError(f"no price of {model} on {lane}")
    return total


def _environment() -> Path:
    """The Python of the tools' environment, which is made again when its requirements change."""
    python, stamp = HOME / "bin" / "python", HOME / "requirements.txt"
    wanted = "\n".join(REQUIREMENTS) + "\n"
    if not (stamp.exists() and stamp.read_text() == wanted):
        print(f"building {HOME.relative_to(ROOT)}", file=sys.stderr, flush=True)
        shutil.rmtree(HOME, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", HOME], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", *REQUIREMENTS]
        subprocess.run(install, check=True)
        stamp.write_text(wanted)
    return python


def table(outcomes: list[Outcome], title: str) -> list[str]:
    """The outcomes as a table for the docs."""
    head = f"| {title} | rows/s | refusals | cost | paid for twice | rows lost |"
    lines = [
        f"| `{one.program}` | {one.per_second:.0f} "
        f"| {one.refusals:,} | {one.cost:.3f} | {one.twice:,} | {one.lost:,} |"
        for one in outcomes
    ]
    return [head, "|---|---|---|---|---|---|", *lines]


def main() -> None:
    """Measure as given on the command line."""
    parser = argparse.ArgumentParser(description="Bulk tools side by side, in refusing weather.")
    names = [*OURS, *PROGRAMS]
    parser.add_argument("--rows", type=int, metavar="N", default=ROWS)
    parser.add_argument("--rows-at-once", type=int, metavar="N", default=AT_ONCE)
    parser.add_argument("--weather", nargs="+", choices=WEATHERS, default=list(WEATHERS))
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", default=names)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there, too")
    options = parser.parse_args()
    measured = {}
    for weather in options.weather:
        outcomes = []
        for name in options.only:
            outcomes.append(measure(name, weather, options.rows, options.rows_at_once))
            print(weather, outcomes[-1], file=sys.stderr, flush=True)
        print("\n".join(["", *table(outcomes, f"{options.rows:,} rows, {weather}")]), flush=True)
        measured[weather] = [asdict(one) for one in outcomes]
    if options.json is not None:
        options.json.write_text(json.dumps(measured, indent=2) + "\n")


if __name__ == "__main__":
    main()
