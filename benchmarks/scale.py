"""How calls add up: what one costs in memory and CPU when thousands wait, or go through, at once.

Three parts, over real sockets, each size in a fresh process, the server in another one:

- waiting: flex is shut (the simulator), and N calls of one process start to wait at once;
- through: N calls in one run, 500 at once, against a bare server that answers after 20 ms;
- opening: N calls wait, flex opens after a few seconds, and all are answered.

What a call costs should not depend on how many there are: the last column is the largest run's
figure over the smallest one's. Linux only: memory and open files are read from /proc.

    python benchmarks/scale.py [--quick] [--json FILE] [--plot FILE.svg]
    python benchmarks/scale.py --read FILE --plot FILE.svg     # draw what --json has written
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import time
import tracemalloc
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import openai
from _fast_server import fast_server
from _provider import simulator

from flextier import AsyncFlexOpenAI, FlexPolicy, LaneState, capacity_snapshot

T = TypeVar("T")

AT_ONCE = 500
WAITING, THROUGH, OPENING = (100, 1_000, 10_000), (1_000, 10_000, 100_000), 10_000
QUICK_WAITING, QUICK_THROUGH, QUICK_OPENING = (100, 1_000), (1_000, 5_000), 1_000
WAITED = 5.0
"""Seconds that CPU is counted for while calls wait."""
SHUT_FOR = 5.0
"""Seconds from the moment that all calls wait until flex opens."""

_LATENCY = {"flex_latency": 0.02, "standard_latency": 0.02}
_SHUT: dict[str, Any] = {"outages": [[0, 1e6]], **_LATENCY}
_OPENS: dict[str, Any] = {"outages": [[0, SHUT_FOR]], **_LATENCY}
_ASK: dict[str, Any] = {
    "model": "o3",
    "messages": [{"role": "user", "content": "Why is the sky blue?"}],
}


# --- what is measured -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Waiting:
    """N calls that wait for a shut lane."""

    calls: int
    kb: float
    """What a call holds, by tracemalloc (in a run of its own, which is slower)."""
    rss_kb: float
    """By how much the process has grown, for each call."""
    line_up_ms: float
    """CPU from making the call to its place in line."""
    waiting_ms: float
    """CPU of the process for a second of waiting, of all calls together."""
    cancel_ms: float
    """CPU to cancel one."""
    refused: int
    """Requests that asked the lane meanwhile, for all that wait."""
    files: int
    """Files and sockets open while they wait, beyond those before."""


@dataclass(frozen=True, slots=True)
class Through:
    """N calls made, :data:`AT_ONCE` at once."""

    calls: int
    cpu_ms: float
    """CPU of this process for a call."""
    per_second: float
    rss_mb: float
    """The process, after 1,000 calls to warm up."""
    grown_mb: float
    """By how much it has grown at its largest."""


@dataclass(frozen=True, slots=True)
class Opening:
    """N calls that wait, and are admitted when the lane opens. Seconds since it opened."""

    calls: int
    first: float
    """Until the first answer."""
    last: float
    """Until the last one."""
    cpu_ms: float
    """CPU of this process for a call, from the opening on."""
    refused_before: int
    refused_after: int
    """Requests refused while the lane was shut, and once it was open."""
    most_in_flight: int
    bare: float
    """Seconds that the bare SDK on aiohttp takes for as many calls, all made at once, the lane
    open, and the same server."""
    bare_cpu_ms: float


# --- in a process of its own ------------------------------------------------------------------


def waiting(base_url: str, calls: int, waited: float, traced: bool) -> Waiting:
    """Line up calls for a lane that is shut, wait, and cancel them."""
    return asyncio.run(_waiting(base_url, calls, waited, traced))


async def _waiting(base_url: str, calls: int, waited: float, traced: bool) -> Waiting:
    client = await _refused_client(base_url)
    gc.collect()
    if traced:
        tracemalloc.start()
    held, rss, files, refused = _held(), _rss(), _open_files(), _flex().refused
    began = time.process_time()
    tasks = [asyncio.create_task(client.chat.completions.create(**_ASK)) for _ in range(calls)]
    await _all_wait(calls)
    lined_up = time.process_time() - began
    gc.collect()
    held, rss, files = _held() - held, _rss() - rss, _open_files() - files
    began = time.process_time()
    await asyncio.sleep(waited)
    idle = time.process_time() - began
    refused = _flex().refused - refused
    began = time.process_time()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    cancelled = time.process_time() - began
    assert _flex().waiting == 0
    return Waiting(
        calls,
        held / 1024 / calls,
        rss / 1024 / calls,
        lined_up / calls * 1000,
        idle / waited * 1000,
        cancelled / calls * 1000,
        refused,
        files,
    )


def through(base_url: str, calls: int) -> Through:
    """Make calls, some hundred at once."""
    return asyncio.run(_through(base_url, calls))


async def _through(base_url: str, calls: int) -> Through:
    async with AsyncFlexOpenAI(base_url=base_url, api_key="benchmark") as client:
        await _make(client, 1_000)
        gc.collect()
        rss = most = _rss()
        began, cpu = time.perf_counter(), time.process_time()
        work = asyncio.create_task(_make(client, calls))
        while not work.done():
            await asyncio.wait([work], timeout=0.1)
            most = max(most, _rss())
        await work
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
    mb = 1024 * 1024
    return Through(calls, cpu / calls * 1000, calls / took, rss / mb, (most - rss) / mb)


async def _make(client: AsyncFlexOpenAI, calls: int) -> None:
    left = iter(range(calls))

    async def worker() -> None:
        for _ in left:
            await client.chat.completions.create(**_ASK)

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


def opening(base_url: str, calls: int) -> Opening:
    """Line up calls for a lane that is shut, and let it open."""
    return asyncio.run(_opening(base_url, calls))


async def _opening(base_url: str, calls: int) -> Opening:
    client = await _refused_client(base_url)
    refused, answers = _flex().refused, []

    async def call() -> None:
        answer = await client.chat.completions.create(**_ASK)
        assert answer.service_tier == "flex"
        answers.append(time.perf_counter())

    work = asyncio.gather(*(call() for _ in range(calls)))
    await _all_wait(calls)
    _steer(base_url, _OPENS)
    opened = time.perf_counter() + SHUT_FOR
    await asyncio.sleep(SHUT_FOR)
    before, cpu, most = _flex().refused, time.process_time(), 0
    while not work.done():
        await asyncio.wait([work], timeout=0.05)
        most = max(most, _flex().in_flight)
    await work
    cpu = time.process_time() - cpu
    return Opening(
        calls,
        first=answers[0] - opened,
        last=answers[-1] - opened,
        cpu_ms=cpu / calls * 1000,
        refused_before=before - refused,
        refused_after=_flex().refused - before,
        most_in_flight=most,
        bare=0.0,
        bare_cpu_ms=0.0,
    )


def bare(base_url: str, calls: int) -> tuple[float, float]:
    """Seconds, and CPU milliseconds a call, of the SDK on aiohttp; flex is open."""
    return asyncio.run(_bare(base_url, calls))


async def _bare(base_url: str, calls: int) -> tuple[float, float]:
    _steer(base_url, _LATENCY)
    over_aiohttp = openai.DefaultAioHttpClient()
    async with openai.AsyncOpenAI(
        base_url=base_url, api_key="benchmark", http_client=over_aiohttp
    ) as client:

        async def call() -> None:
            await client.chat.completions.create(**_ASK, service_tier="flex")

        await call()
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(call() for _ in range(calls)))
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
    return took, cpu / calls * 1000


async def _refused_client(base_url: str) -> AsyncFlexOpenAI:
    """A client that has been refused, and then answered on standard: all is loaded and warm."""
    _steer(base_url, _SHUT)
    account = {"base_url": base_url, "api_key": "benchmark"}
    hasty = AsyncFlexOpenAI(policy=FlexPolicy(patience=0.5), **account)
    await asyncio.gather(*(hasty.chat.completions.create(**_ASK) for _ in range(20)))
    return hasty.copy(policy=FlexPolicy(patience=3600))


async def _all_wait(calls: int) -> None:
    while (flex := _flex()).waiting + flex.in_flight < calls:
        await asyncio.sleep(0.01)


def _flex() -> LaneState:
    return next(state for state in capacity_snapshot() if state.lane == "flex")


def _steer(base_url: str, weather: dict[str, Any]) -> None:
    """Set the simulator's weather, and restart its clock."""
    url, body = base_url.removesuffix("/v1") + "/sim/weather", json.dumps(weather).encode()
    request = urllib.request.Request(
        url, body, {"content-type": "application/json", "x-flextier-token": "benchmarks"}
    )
    urllib.request.urlopen(request).close()


def _held() -> int:
    return tracemalloc.get_traced_memory()[0] if tracemalloc.is_tracing() else 0


def _rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


# --- all of it --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything, the smallest size first."""

    waiting: list[Waiting]
    through: list[Through]
    opening: Opening
    python: str = platform.python_version()
    openai: str = openai.__version__
    cores: int = os.cpu_count() or 1

    @classmethod
    def read(cls, file: Path) -> Measured:
        """What ``--json`` has written."""
        document = json.loads(file.read_text())
        document["waiting"] = [Waiting(**one) for one in document["waiting"]]
        document["through"] = [Through(**one) for one in document["through"]]
        document["opening"] = Opening(**document["opening"])
        return cls(**document)


def measure(quick: bool = False) -> Measured:
    """All three parts; five minutes, or half a minute."""
    with simulator() as base_url:
        lines = [_line(base_url, calls) for calls in (QUICK_WAITING if quick else WAITING)]
        calls = QUICK_OPENING if quick else OPENING
        opened = _apart(opening, base_url, calls)
        took, cpu = _apart(bare, base_url, calls)
        opened = replace(opened, bare=took, bare_cpu_ms=cpu)
    with fast_server() as base_url:
        runs = [_apart(through, base_url, calls) for calls in (QUICK_THROUGH if quick else THROUGH)]
    return Measured(lines, runs, opened)


def _line(base_url: str, calls: int) -> Waiting:
    traced = _apart(waiting, base_url, calls, 0.1, True)
    return replace(_apart(waiting, base_url, calls, WAITED, False), kb=traced.kb)


def _apart(measure: Callable[..., T], *arguments: Any) -> T:
    """The result from a process that has done nothing else."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(measure, *arguments).result()


# --- as a table -------------------------------------------------------------------------------

_WAITING_ROWS = (
    ("KB a call (tracemalloc)", "kb", ".1f"),
    ("KB a call (RSS)", "rss_kb", ".1f"),
    ("ms CPU to line one up", "line_up_ms", ".2f"),
    ("ms CPU a second, all that wait", "waiting_ms", ".1f"),
    ("ms CPU to cancel one", "cancel_ms", ".3f"),
    ("requests in those seconds", "refused", "d"),
    ("files and sockets held", "files", "d"),
)
_THROUGH_ROWS = (
    ("ms CPU a call", "cpu_ms", ".2f"),
    ("calls a second", "per_second", ",.0f"),
    ("MB after warming up (RSS)", "rss_mb", ".1f"),
    ("MB more at the largest (RSS)", "grown_mb", ".1f"),
)
_RATIOS = {"kb", "line_up_ms", "cancel_ms", "cpu_ms", "per_second"}


def table(measured: Measured) -> list[str]:
    """The figures as lines."""
    opened = measured.opening
    return [
        *_part("calls waiting at once", measured.waiting, _WAITING_ROWS),
        "",
        *_part(f"calls through, {AT_ONCE} at once", measured.through, _THROUGH_ROWS),
        "",
        f"{opened.calls:,} calls waiting, then flex opens:",
        f"  first answer after {opened.first:.1f} s, last after {opened.last:.1f} s, "
        f"{opened.cpu_ms:.2f} ms CPU a call, {opened.most_in_flight:,} in flight at most",
        f"  refusals: {opened.refused_before} while it was shut, {opened.refused_after} after",
        f"  the bare SDK on aiohttp, {opened.calls:,} calls at once: {opened.bare:.1f} s, "
        f"{opened.bare_cpu_ms:.2f} ms CPU a call: {opened.bare / opened.last:.2f} of its calls/s",
    ]


def _part(title: str, runs: Sequence[Any], rows: Sequence[tuple[str, str, str]]) -> list[str]:
    first, last = runs[0], runs[-1]
    head = "".join(f"{run.calls:>10,}" for run in runs)
    lines = [f"{title:<32}{head}   {last.calls:,} / {first.calls:,}"]
    for name, field, how in rows:
        cells = "".join(f"{format(getattr(run, field), how):>10}" for run in runs)
        ratio = ""
        if field in _RATIOS and getattr(first, field) > 0:
            ratio = f"   {getattr(last, field) / getattr(first, field):.2f}"
        lines.append(f"{name:<32}{cells}{ratio}")
    return lines


def report(quick: bool = False, file: Path | None = None) -> Measured:
    """Print the table; write the JSON file if one is asked for."""
    measured = measure(quick)
    print("\n".join(table(measured)))
    if file is not None:
        file.write_text(json.dumps(asdict(measured), indent=2) + "\n")
    return measured


def main() -> None:
    """Measure as document on the command line."""
    parser = argparse.ArgumentParser(description="Memory and CPU of a call, by how many there are.")
    parser.add_argument("--quick", action="store_true", help="fewer calls: half a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there, too")
    parser.add_argument("--read", type=Path, metavar="FILE", help="measure nothing: read them")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw them")
    options = parser.parse_args()
    if options.read is not None:
        measured = Measured.read(options.read)
        print("\n".join(table(measured)))
    else:
        measured = report(options.quick, options.json)
    if options.plot is not None:
        from _pictures import save, scaling  # altair takes a second to load

        about = "CPU of a call and memory of a waiting call, over the number of calls."
        save(scaling(measured), options.plot, "How calls add up", about)


if __name__ == "__main__":
    main()
