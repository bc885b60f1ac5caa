"""What many processes gain from the gateway, and what a call through it costs.

The outage: flex is shut for 20 seconds and has ten slots then, an answer takes a second, and 120
calls begin at once: those of one process, and of eight with 15 each. Alone, each process knows only
its own refusals; through ``flextier serve`` the calls share one limiter: those of the stock SDK by
its base URL, those of flextier's own clients by ``FLEXTIER_GATEWAY``.

The overhead: the stock ``AsyncOpenAI`` on aiohttp against a bare server that answers after 20 ms,
directly and through the gateway, in turns; what is added to a call is the difference of the
medians.

The memory: 10,000 calls of 1 KiB that wait for flex, of a client in a process of its own.

    python benchmarks/gateway.py [outage] [overhead] [waiting]
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
from _fast_server import fast_server
from _provider import simulator

from flextier.serve.server import raise_open_files

CALLS, PROCESSES = 120, 8
OUTAGE: dict[str, Any] = {"outages": [[0, 20]], "slots": 10, "flex_latency": 1}
AT_ONCE = {1: 100, 100: 400, 1000: 1000}
"""How many calls are made in a round, by how many are under way at once."""
ROUNDS = 5
WAITING = 10_000

_ASK: dict[str, Any] = {"model": "o3", "messages": [{"role": "user", "content": "Why is it blue?"}]}
_DEADLINE = "10m"


@contextmanager
def gateway(upstream: str) -> Iterator[tuple[str, int]]:
    """The base URL and the process id of a gateway in a process of its own."""
    settings = {"OPENAI_BASE_URL": upstream, "OPENAI_API_KEY": "benchmark"}
    command = [Path(sys.executable).with_name("flextier"), "serve", "--port", "0"]
    with subprocess.Popen(
        [*command, "--deadline", _DEADLINE, "--drain", "0"],
        env={**os.environ, **settings},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        serving = json.loads(process.stderr.readline())
        drained = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
        try:
            yield f"{serving['url']}/v1", process.pid
        finally:
            process.terminate()
            process.wait()
            drained.wait()


# --- the outage ---------------------------------------------------------------------------------


def outage(processes: int, package: str, *, through: bool) -> tuple[float, int]:
    """Seconds and refusals of 120 calls in an outage that begins with them."""
    with simulator(OUTAGE) as base_url:
        if not through:
            return _outage(base_url, base_url, processes, package)
        with gateway(base_url) as (url, _):
            if package == "openai":
                return _outage(url, base_url, processes, package)
            return _outage(base_url, base_url, processes, package, FLEXTIER_GATEWAY=url)


def _outage(
    url: str, provider: str, processes: int, package: str, **variables: str
) -> tuple[float, int]:
    command = [sys.executable, __file__, "worker", package, url, str(CALLS // processes)]
    workers = [
        subprocess.Popen(
            command,
            env={**os.environ, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(processes)
    ]
    for worker in workers:  # its clients are ready
        _line(worker)
    _steer(provider, OUTAGE)
    began = time.perf_counter()
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.close()
    lanes = [lane for worker in workers for lane in json.loads(_line(worker))]
    seconds = time.perf_counter() - began
    for worker in workers:
        worker.wait()
    assert lanes == ["flex"] * CALLS, lanes
    with urllib.request.urlopen(f"{provider.removesuffix('/v1')}/stats") as page:
        return seconds, json.load(page)["refusals"]


def _line(worker: subprocess.Popen[str]) -> str:
    assert worker.stdout is not None
    return worker.stdout.readline()


def _steer(provider: str, weather: dict[str, Any]) -> None:
    request = urllib.request.Request(
        f"{provider.removesuffix('/v1')}/sim/weather",
        json.dumps(weather).encode(),
        {"x-flextier-token": "benchmarks", "content-type": "application/json"},
    )
    urllib.request.urlopen(request).close()


def worker(package: str, url: str, calls: str) -> None:
    """Make calls at once when standard input is closed; print the lanes that were billed."""
    if package == "flextier":
        from flextier import AsyncFlexOpenAI

        client: Any = AsyncFlexOpenAI(
            base_url=url, api_key="benchmark", policy={"deadline": _DEADLINE}
        )
    else:
        client = openai.AsyncOpenAI(base_url=url, api_key="benchmark")

    async def run() -> list[str]:
        made = [client.chat.completions.create(**_ASK) for _ in range(int(calls))]
        return [answer.service_tier for answer in await asyncio.gather(*made)]

    print("ready", flush=True)
    sys.stdin.read()
    print(json.dumps(asyncio.run(run())), flush=True)


# --- the overhead -------------------------------------------------------------------------------


def overhead() -> Iterator[str]:
    """Lines of milliseconds, by how many calls are under way."""
    with fast_server() as base_url, gateway(base_url) as (url, pid):
        for at_once, count in AT_ONCE.items():
            pairs = []
            cpu = 0.0
            for first in range(-1, ROUNDS):  # the first round warms up
                direct = asyncio.run(_latencies(base_url, at_once, count))
                began = _cpu(pid)
                through = asyncio.run(_latencies(url, at_once, count))
                if first >= 0:
                    cpu += _cpu(pid) - began
                    pairs.append((statistics.median(direct), statistics.median(through)))
            direct, through = (statistics.median(side) * 1000 for side in zip(*pairs, strict=True))
            yield (
                f"{at_once:>4} at once: direct {direct:.1f} ms, added {through - direct:.1f} ms, "
                f"CPU of the gateway {cpu / ROUNDS / count * 1000:.2f} ms a call"
            )


async def _latencies(url: str, at_once: int, count: int) -> list[float]:
    left, seconds = iter(range(count)), []
    # On httpx, 100 calls at once are as slow as their client.
    http_client = openai.DefaultAioHttpClient()
    async with openai.AsyncOpenAI(
        base_url=url, api_key="benchmark", http_client=http_client
    ) as client:

        async def caller() -> None:
            for _ in left:
                began = time.perf_counter()
                await client.chat.completions.create(**_ASK, service_tier="flex")
                seconds.append(time.perf_counter() - began)

        await asyncio.gather(*(caller() for _ in range(at_once)))
    return seconds


# --- the memory ---------------------------------------------------------------------------------


def waiting() -> str:
    """What the gateway takes for calls that wait."""
    with simulator({"outages": [[0, 3600]]}) as base_url, gateway(base_url) as (url, pid):
        before, began = _memory(pid), _cpu(pid)
        command = [sys.executable, __file__, "waiters", url, str(WAITING)]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as waiters:
            status = f"{url.removesuffix('/v1')}/status"
            running = 0
            while running < WAITING and waiters.poll() is None:
                time.sleep(1)
                with urllib.request.urlopen(status) as page:
                    running = json.load(page)["calls"]["running"]
            all_wait = _cpu(pid)
            time.sleep(10)
            used, idle = _memory(pid), (_cpu(pid) - all_wait) / 10
            waiters.kill()
    return (
        f"{running:,} calls wait: {used - before:.0f} MiB more than {before:.0f}, "
        f"{(all_wait - began) / WAITING * 1000:.2f} ms of CPU each to begin, "
        f"{idle * 100:.0f} % of a core while they wait"
    )


def waiters(url: str, calls: str) -> None:
    """Make calls, and wait for their answers."""

    async def run() -> None:
        import aiohttp

        body = {**_ASK, "metadata": {"padding": "x" * 900}}
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(None)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

            async def call() -> None:
                async with session.post(f"{url}/chat/completions", json=body) as answer:
                    await answer.read()

            made = []
            for number in range(int(calls)):
                if number % 100 == 0:  # not all connections before the first request
                    await asyncio.sleep(0.2)
                made.append(asyncio.create_task(call()))
            await asyncio.gather(*made)

    raise_open_files()
    asyncio.run(run())


def _memory(pid: int) -> float:
    """MiB of a process, on Linux."""
    lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def _cpu(pid: int) -> float:
    """CPU seconds of a process, on Linux."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(parts: list[str]) -> None:
    """Print a line a measurement."""
    if "outage" in parts:
        for name, processes, package, through in (
            ("one process, FlexOpenAI", 1, "flextier", False),
            (f"{PROCESSES} processes, FlexOpenAI", PROCESSES, "flextier", False),
            (f"{PROCESSES} processes, the SDK through the gateway", PROCESSES, "openai", True),
            (f"{PROCESSES} processes, FLEXTIER_GATEWAY", PROCESSES, "flextier", True),
        ):
            seconds, refusals = outage(processes, package, through=through)
            print(f"{name}: {seconds:.1f} s, {refusals} refusals", flush=True)
    if "overhead" in parts:
        for line in overhead():
            print(line, flush=True)
    if "waiting" in parts:
        print(waiting(), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        worker(*sys.argv[2:])
    elif sys.argv[1:2] == ["waiters"]:
        waiters(*sys.argv[2:])
    else:
        main(sys.argv[1:] or ["outage", "overhead", "waiting"])
