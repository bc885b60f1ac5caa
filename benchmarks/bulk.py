"""Rows a second of ``flextier run``, over those of a bare loop over the plain SDK, and its memory.

Both read the same JSON lines, ask the same question of a server in a process of its own, and write
JSON lines; each in a fresh process, in turns. The bare loop is what people write by hand: an
``asyncio.Semaphore`` around ``AsyncOpenAI``, on httpx as it comes and on the SDK's own aiohttp
client. Whatever it has done is lost when it ends early. Time is from the first row to the output in
its place, without imports.

    python benchmarks/bulk.py [--rows N] [--rounds N] [--concurrency N] [--server fast|sim]
                              [--only NAME ...] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from _fast_server import fast_server
from _provider import simulator

ROWS, ROUNDS, CONCURRENCY = 20_000, 3, 64

OURS, AIOHTTP, HTTPX = NAMES = "flextier run", "AsyncOpenAI on aiohttp", "AsyncOpenAI on httpx"

RUNNABLE = """
from flextier import AsyncFlexOpenAI

client = AsyncFlexOpenAI()


async def ask(row):
    messages = [{"role": "user", "content": row["prompt"]}]
    answer = await client.chat.completions.create(model="o4-mini", messages=messages)
    return answer.choices[0].message.content
"""


@dataclass(frozen=True, slots=True)
class Turn:
    """One program's turn."""

    per_second: float
    """Rows a second by the wall clock."""
    cpu: float
    """CPU milliseconds of its process for a row, imports included."""
    peak: float
    """MiB of memory at most."""
    tenths: tuple[float, ...] = ()
    """Rows a second of each tenth of the rows, of the runner: level, whatever there are before."""


def measure(
    rows: int, rounds: int, concurrency: int, server: str, names: tuple[str, ...]
) -> list[dict[str, Turn]]:
    """Every program's turns."""
    measured = []
    with TemporaryDirectory() as directory:
        place = Path(directory)
        write_rows(place / "in.jsonl", rows)
        (place / "work.py").write_text(RUNNABLE)
        for first in range(rounds):
            turns = {}
            for name in names[first % len(names) :] + names[: first % len(names)]:
                with fast_server() if server == "fast" else simulator() as base_url:
                    turns[name] = _turn(name, place, rows, concurrency, base_url)
                print(f"{name:<24} {turns[name]}", flush=True)
            measured.append(turns)
    return measured


def write_rows(path: Path, rows: int) -> None:
    """An input of N rows, each with a prompt of its own."""
    with path.open("w") as file:
        for number in range(rows):
            prompt = f"Summarise review {number} in one sentence. {'It was quite good. ' * 8}"
            file.write(json.dumps({"id": number, "prompt": prompt}) + "\n")


def _turn(name: str, place: Path, rows: int, concurrency: int, base_url: str) -> Turn:
    for old in place.glob("out.jsonl*"):
        subprocess.run(["rm", "-rf", str(old)], check=True)
    if name == OURS:
        command = ["-c", "import sys; from flextier.cli import main; sys.exit(main())", "run"]
        command += ["work:ask", "in.jsonl", "out.jsonl", "--json"]
        command += ["--concurrency", str(concurrency)]
    else:
        command = [str(Path(__file__).resolve()), "--bare", name, "--concurrency", str(concurrency)]
    environment = {**os.environ, "OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": "benchmark"}
    with subprocess.Popen(
        [sys.executable, *command], cwd=place, env=environment, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        printed = child.stdout.read()
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{name} ended with {child.returncode}: {printed}")
    with (place / "out.jsonl").open() as file:
        written = sum(1 for _ in file)
    if written != rows:
        raise RuntimeError(f"{name} wrote {written} of {rows} rows")
    events = [json.loads(line) for line in printed.splitlines()]
    elapsed = events[-1]["elapsed"]
    cpu = (used.ru_utime + used.ru_stime) / rows * 1000
    peak, tenths = used.ru_maxrss / 1024, _tenths(events, rows)
    return Turn(round(rows / elapsed, 1), round(cpu, 3), round(peak, 1), tenths)


def _tenths(events: list[dict[str, Any]], rows: int) -> tuple[float, ...]:
    """Rows a second of each tenth, by the runner's progress; none, if there are too few events."""
    seen = [(event["done"], event["elapsed"]) for event in events if "done" in event]
    marks = [next((one for one in seen if one[0] * 10 >= n * rows), None) for n in range(11)]
    pairs = [(one, two) for one, two in pairwise(marks) if one and two and one != two]
    if len(pairs) < 10:
        return ()
    return tuple(round((two[0] - one[0]) / (two[1] - one[1]), 1) for one, two in pairs)


# --- the bare loop ----------------------------------------------------------------------------


def _bare(name: str, concurrency: int) -> None:
    import openai

    http_client = openai.DefaultAioHttpClient() if name == AIOHTTP else None
    client = openai.AsyncOpenAI(http_client=http_client)
    began = time.perf_counter()
    asyncio.run(_all(client, concurrency))
    print(json.dumps({"elapsed": time.perf_counter() - began}))


async def _all(client: Any, concurrency: int) -> None:
    room = asyncio.Semaphore(concurrency)
    tasks: set[asyncio.Task[None]] = set()
    with Path("out.jsonl").open("w") as file:

        async def one(row: dict[str, Any]) -> None:
            try:
                messages = [{"role": "user", "content": row["prompt"]}]
                answer = await client.chat.completions.create(
                    model="o4-mini", messages=messages, service_tier="flex"
                )
                row["output"] = answer.choices[0].message.content
                file.write(json.dumps(row) + "\n")
            finally:
                room.release()

        for row in _rows():
            await room.acquire()
            task = asyncio.create_task(one(row))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
    await client.close()


def _rows() -> Iterator[dict[str, Any]]:
    with Path("in.jsonl").open() as file:
        for line in file:
            yield json.loads(line)


def over(measured: list[dict[str, Turn]], other: str) -> float:
    """Rows a second of ``flextier run`` over those of another program, of the same round."""
    return statistics.median(turns[OURS].per_second / turns[other].per_second for turns in measured)


def report(measured: list[dict[str, Turn]], file: Path | None) -> None:
    """Print the medians and the ratios; write the JSON file if one is asked for."""
    names = list(measured[0])
    for name in names:
        turns = [turns[name] for turns in measured]
        speed, cpu, peak = (
            statistics.median(getattr(turn, field) for turn in turns)
            for field in ("per_second", "cpu", "peak")
        )
        print(f"{name:<24} {speed:>8,.0f} rows/s {cpu:>6.2f} ms CPU a row {peak:>7.1f} MiB at most")
    for other in names:
        if other != OURS and OURS in names:
            print(f"{OURS} over {other}: {over(measured, other):.2f}")
    if file is not None:
        rounds = [{name: asdict(turn) for name, turn in turns.items()} for turns in measured]
        file.write_text(json.dumps(rounds, indent=2) + "\n")


def main() -> None:
    """Measure as given on the command line."""
    parser = argparse.ArgumentParser(description="Rows a second of the bulk runner.")
    parser.add_argument("--rows", type=int, metavar="N", default=ROWS)
    parser.add_argument("--rounds", type=int, metavar="N", default=ROUNDS)
    parser.add_argument("--concurrency", type=int, metavar="N", default=CONCURRENCY)
    parser.add_argument("--server", choices=("fast", "sim"), default="sim")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=list(NAMES))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there, too")
    parser.add_argument("--bare", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        _bare(options.bare, options.concurrency)
        return
    measured = measure(
        options.rows, options.rounds, options.concurrency, options.server, tuple(options.only)
    )
    report(measured, options.json)


if __name__ == "__main__":
    main()
