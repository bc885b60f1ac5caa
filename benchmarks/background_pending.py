"""What thousands of background responses take that one process waits for: CPU, memory, looks.

Two parts, over real sockets, the simulator in a process of its own:

- pending: N responses with a window of 8 hours are created, some hundred at a time, waited
  for in real time for some minutes, and collected when they are done. CPU and memory are this
  process's alone;
- whole: what a wait of all 8 hours takes in looks, worked out from the pace for as many responses,
  and counted by the simulator for a hundred, on a clock that goes faster.

    python benchmarks/background_pending.py [--calls 5000] [--at-once 500]
                                            [--framework sdk|langchain] [--windows 3]
                                            [--seconds 60] [--part pending|whole]

A request under way takes twice the memory of a response that waits, and the process does not give
it back: with ``--at-once 5000`` the growth of the process is that of as many requests.

Linux only: memory and open files are read from /proc.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import heapq
import json
import os
import random
import statistics
import time
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from _provider import simulator

from flextier import AsyncFlexOpenAI, FlexPolicy
from flextier._utils.clock import Clock
from flextier.background.poll_schedule import PollSchedule

MODEL = "gpt-6.2-sol"
POLICY = FlexPolicy(lanes=("background", "standard"), background_window="8h")
EIGHT_HOURS = 28_800.0
SPEED = 960.0
"""Seconds of the faster clock in a second: 8 hours in 30 seconds."""
FEW = 100
"""Responses that are waited for on that clock."""

_CREATIONS = "/v1/responses"
_LOOKS = "/v1/responses/{id}"
_SETTLING = 20.0
"""Seconds from the last creation to the first window: idle connections are closed by then."""
_KEY = "sk-not-a-key"

Ask = Callable[[int], Awaitable[None]]


@dataclass
class Window:
    """Some seconds of waiting."""

    share: float
    """CPU of this process, as a share of a core."""
    looks: float
    """A second, of all responses together."""
    sockets: int
    """Open at its end, beyond those before the first call."""


@dataclass
class Pending:
    """What was found of responses that were waited for."""

    calls: int
    creating_ms: float = 0.0
    """CPU to create one, from the call to its wait."""
    rss_kb: float = 0.0
    """By how much the process has grown, for each response, when they wait."""
    rss_later_kb: float = 0.0
    """The same when each has been looked at again and again."""
    windows: list[Window] = field(default_factory=list)
    collecting_ms: float = 0.0
    """CPU to collect one, waiting for the others included."""
    late: list[float] = field(default_factory=list)
    """Seconds from the end of each response to its answer."""
    first_to_last: float = 0.0
    """Seconds from the first answer to the last."""
    requests: float = 0.0
    """For a response, all together: its creation and the looks."""
    age: float = 0.0
    """Seconds that each took from its creation to its end."""


# --- pending ----------------------------------------------------------------------------------


def pending(calls: int, at_once: int, framework: str, windows: int, seconds: float) -> Pending:
    """Create, wait for, and collect responses.

    Args:
        calls: how many.
        at_once: of them that are being created at a time.
        framework: ``"sdk"`` or ``"langchain"``.
        windows: how often the wait is measured.
        seconds: of each of them.
    """
    # None is to end before the last has been measured: a creation takes some milliseconds.
    age = 0.01 * calls + _SETTLING + windows * seconds + 10.0
    weather = {"background": {"queued_8h": age - 1.0, "seconds_8h": 1.0}}
    with simulator(weather) as base_url:
        return asyncio.run(_pending(base_url, calls, at_once, framework, windows, seconds, age))


async def _pending(
    base_url: str,
    calls: int,
    at_once: int,
    framework: str,
    windows: int,
    seconds: float,
    age: float,
) -> Pending:
    had: list[tuple[float, float]] = []  # when it was done, and when it was received
    ask = _asking(base_url, framework, age, had)
    found = Pending(calls, age=age)
    await _warm(base_url, ask, had)
    gc.collect()
    rss, files, before = _rss(), _open_files(), _seen(base_url)
    cpu = time.process_time()
    tasks: list[asyncio.Task[None]] = []
    while len(tasks) < calls:
        more = range(len(tasks), min(len(tasks) + at_once, calls))
        tasks.extend(asyncio.create_task(ask(number)) for number in more)
        while _seen(base_url)[_CREATIONS] - before[_CREATIONS] < len(tasks):
            await asyncio.sleep(0.05)
    await asyncio.sleep(1.0)
    found.creating_ms = (time.process_time() - cpu) / calls * 1e3
    gc.collect()
    found.rss_kb = (_rss() - rss) / calls / 1024
    await asyncio.sleep(_SETTLING - 1.0)
    for _ in range(windows):
        found.windows.append(await _window(base_url, seconds, files))
    found.rss_later_kb = (_rss() - rss) / calls / 1024
    assert not had, "some were done too early: fewer calls, or longer windows"
    cpu = time.process_time()
    await asyncio.gather(*tasks)
    found.collecting_ms = (time.process_time() - cpu) / calls * 1e3
    after = _seen(base_url)
    found.requests = (sum(after.values()) - sum(before.values())) / calls
    found.late = [answered - done for done, answered in had]
    answers = [answered for _, answered in had]
    found.first_to_last = max(answers) - min(answers)
    return found


def _asking(base_url: str, framework: str, age: float, had: list[tuple[float, float]]) -> Ask:
    """What makes one call, and notes when it was answered."""
    if framework == "langchain":
        from flextier.langchain import ChatOpenAIFlex

        llm = ChatOpenAIFlex(model=MODEL, base_url=base_url, api_key=_KEY, policy=POLICY)

        async def invoke(number: int) -> None:
            answer = await llm.ainvoke(_question(number))
            assert _question(number) in answer.text
            had.append((answer.response_metadata["created_at"] + age, time.time()))

        return invoke
    client = AsyncFlexOpenAI(base_url=base_url, api_key=_KEY, policy=POLICY)

    async def create(number: int) -> None:
        answer = await client.responses.create(model=MODEL, input=_question(number))
        assert _question(number) in answer.output_text
        had.append((answer.created_at + age, time.time()))

    return create


def _question(number: int) -> str:
    return f"What is {number} in words?"


async def _warm(base_url: str, ask: Ask, had: list[tuple[float, float]]) -> None:
    """Have all loaded that a call needs, with responses that are done soon."""
    _steer(base_url, "background", {"outcomes": [{"outcome": "complete", "after": 1, "times": 20}]})
    await asyncio.gather(*(ask(number) for number in range(20)))
    had.clear()


async def _window(base_url: str, seconds: float, files: int) -> Window:
    looks, cpu, began = _seen(base_url)[_LOOKS], time.process_time(), time.perf_counter()
    await asyncio.sleep(seconds)
    took = time.perf_counter() - began
    cpu = time.process_time() - cpu
    looks = _seen(base_url)[_LOOKS] - looks
    return Window(cpu / took, looks / took, _open_files() - files)


# --- a whole wait -----------------------------------------------------------------------------


def paced(calls: int, seed: int = 0) -> float:
    """Looks at a response in 8 hours, by the poll schedule, with a constant number waiting."""
    pace, chance, longest = PollSchedule(), random.Random(seed), POLICY.background_poll_interval

    def next_look(age: float) -> float:
        return age + pace.interval(age, age, longest, chance.random())

    due = [next_look(0.0) for _ in range(calls)]
    heapq.heapify(due)
    looks = 0
    while due[0] < EIGHT_HOURS:
        looks += 1
        heapq.heapreplace(due, next_look(due[0]))
    return looks / calls


def counted(calls: int) -> float:
    """Looks at a response that takes 8 hours, by the simulator, on a clock that goes faster."""
    weather = {"background": {"queued_8h": EIGHT_HOURS - 60.0, "seconds_8h": 60.0}}
    with simulator(weather, SPEED) as base_url:
        asyncio.run(_counted(base_url, calls))
        return _seen(base_url)[_LOOKS] / calls


async def _counted(base_url: str, calls: int) -> None:
    policy = POLICY.replace(background_timeout=2 * EIGHT_HOURS)
    async with AsyncFlexOpenAI(
        base_url=base_url, api_key=_KEY, policy=policy, clock=_faster()
    ) as client:

        async def create(number: int) -> None:
            answer = await client.responses.create(model=MODEL, input=_question(number))
            assert answer.status == "completed"

        await asyncio.gather(*(create(number) for number in range(calls)))


def _faster() -> Clock:
    began, epoch = time.monotonic(), time.time()

    async def async_sleep(seconds: float) -> None:
        await anyio.sleep(seconds / SPEED)

    return Clock(
        now=lambda: (time.monotonic() - began) * SPEED,
        wall=lambda: epoch + (time.monotonic() - began) * SPEED,
        async_sleep=async_sleep,
    )


# --- the simulator, and this process ----------------------------------------------------------


def _seen(base_url: str) -> Counter[str]:
    """Requests that the simulator has answered, by path."""
    with urllib.request.urlopen(base_url.removesuffix("/v1") + "/stats") as answer:
        return Counter(json.load(answer)["paths"])


def _steer(base_url: str, what: str, payload: dict[str, Any]) -> None:
    url = f"{base_url.removesuffix('/v1')}/sim/{what}"
    headers = {"content-type": "application/json", "x-flextier-token": "benchmarks"}
    request = urllib.request.Request(url, json.dumps(payload).encode(), headers)
    urllib.request.urlopen(request).close()


def _rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


# --- all of it --------------------------------------------------------------------------------


def show(found: Pending) -> None:
    """Print what was found."""
    late = statistics.quantiles(found.late, n=20)
    print(f"{found.calls:,} responses that each take {found.age:.0f} s")
    print(f"CPU to create one: {found.creating_ms:.2f} ms")
    print(f"memory of one (growth of the process): {found.rss_kb:.1f} KB, ", end="")
    print(f"after looks at all of them {found.rss_later_kb:.1f} KB")
    for number, window in enumerate(found.windows, 1):
        print(f"waiting, window {number}: {window.share:.1%} of a core, ", end="")
        print(f"{window.looks:.1f} looks a second, {window.sockets} open sockets and files")
    print(f"CPU to collect one: {found.collecting_ms:.2f} ms; ", end="")
    print(f"from the first answer to the last: {found.first_to_last:.0f} s")
    print(
        f"an answer is received after its end by {statistics.median(found.late):.0f} s (median), "
    )
    print(f"  {late[-1]:.0f} s (19 of 20), {max(found.late):.0f} s (the last)")
    print(f"requests for one: {found.requests:.1f}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run both parts, or one, and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--calls", type=int, default=5_000, metavar="N")
    parser.add_argument("--at-once", type=int, default=500, metavar="N", help="being created")
    parser.add_argument("--framework", choices=("sdk", "langchain"), default="sdk")
    parser.add_argument("--windows", type=int, default=3, metavar="N", help="measured, of the wait")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="S", help="of each of them")
    parser.add_argument("--part", choices=("pending", "whole"), help="one of them alone")
    options = parser.parse_args(arguments)
    if options.part != "whole":
        show(
            pending(
                options.calls, options.at_once, options.framework, options.windows, options.seconds
            )
        )
    if options.part != "pending":
        print(f"a whole wait of 8 hours, {options.calls:,} responses: ", end="")
        print(f"{paced(options.calls):.0f} looks at each, by the pace")
        print(f"a whole wait of 8 hours, {FEW} responses: ", end="")
        print(f"{paced(FEW):.0f} looks at each, by the pace; {counted(FEW):.0f}, counted")


if __name__ == "__main__":
    main()
