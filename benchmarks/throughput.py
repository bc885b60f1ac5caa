"""How many async calls a second one process makes, with many of them under way at once.

Calls by the wall clock, and CPU milliseconds of this process for each: plain chat completions over
real sockets, against a bare server in a process of its own that answers after 20 ms. All clients
take turns, in the same process, and the ratios are those of the same round.

With 2,000 at once the clients on httpx are left out: its pool looks through all connections for
each waiting call, and then takes minutes for what takes seconds otherwise.

    python benchmarks/throughput.py [--rounds N] [--at-once N ...] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import openai
from _fast_server import fast_server
from _measure import event_loop
from langchain_openai import ChatOpenAI

from flextier import AsyncFlexOpenAI
from flextier.langchain import ChatOpenAIFlex

ROUNDS = 3
CALLS = {20: 600, 100: 600, 500: 1500, 2000: 4000}
"""How many calls are made in a round, by how many are under way at once."""

OURS, CHAIN = "AsyncFlexOpenAI create", "ChatOpenAIFlex.ainvoke"
AIOHTTP, HTTPX = "AsyncOpenAI on aiohttp", "AsyncOpenAI on httpx"
PLAIN_CHAIN = "ChatOpenAI.ainvoke"
LONG = ", 16 messages"
LONG_CHAIN, PLAIN_LONG_CHAIN = CHAIN + LONG, PLAIN_CHAIN + LONG

_ON_HTTPX = {HTTPX, PLAIN_CHAIN, PLAIN_LONG_CHAIN}
_MOST_ON_HTTPX = 500

_ON_OPENAI_2 = openai.__version__.startswith("2.")

_COMPARED: tuple[tuple[str, str, dict[int, float]], ...] = (
    (OURS, AIOHTTP, {500: 0.9}),
    (OURS, HTTPX, {}),
    (OURS, PLAIN_CHAIN, {}),
    (CHAIN, PLAIN_CHAIN, {500: 4.0 if _ON_OPENAI_2 else 2.0}),
    (LONG_CHAIN, PLAIN_LONG_CHAIN, {} if _ON_OPENAI_2 else {100: 3.0}),
)
"""Who is held against whom, and the ratio of calls a second to reach."""

_QUESTION = "Why is the sky blue?"
_ASK: dict[str, Any] = {"model": "o3", "messages": [{"role": "user", "content": _QUESTION}]}
_TALK = [("ai" if number % 2 else "human", _QUESTION) for number in range(16)]

Call = Callable[[], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Turn:
    """One client's turn of one round."""

    per_second: float
    """Calls a second by the wall clock."""
    cpu: float
    """CPU milliseconds of this process for a call."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """Calls a second of one client over those of another."""

    at_once: int
    ours: str
    other: str
    ratio: float
    """The median over the rounds."""
    cpu: float
    """The other's CPU of a call over that of ours, which holds on a busy machine, too."""
    target: float | None

    @property
    def name(self) -> str:
        """What is held against what."""
        return f"{self.ours} over {self.other}, {self.at_once} at once, calls/s"

    def __str__(self) -> str:
        goal = ""
        if self.target is not None:
            verdict = "reached" if self.ratio >= self.target else "missed"
            goal = f", target {self.target:g}: {verdict}"
        return f"{self.name}: {self.ratio:.2f} (by CPU {self.cpu:.2f}){goal}"


Rounds = dict[int, list[dict[str, Turn]]]


def measure(rounds: int = ROUNDS, at_once: Sequence[int] = tuple(CALLS)) -> Rounds:
    """Every client's turns, by how many calls were under way."""
    with fast_server() as base_url, event_loop() as loop:
        over_aiohttp = openai.DefaultAioHttpClient()
        clients = _clients({"base_url": base_url, "api_key": "benchmark"}, over_aiohttp)
        for call in clients.values():
            loop.run_until_complete(_turn(call, 20, 20))
        measured = {
            number: [_round(loop, clients, number, first) for first in range(rounds)]
            for number in at_once
        }
        loop.run_until_complete(over_aiohttp.aclose())
    return measured


def _clients(account: dict[str, Any], over_aiohttp: Any) -> dict[str, Call]:
    ours = AsyncFlexOpenAI(**account).chat.completions
    aiohttp = openai.AsyncOpenAI(http_client=over_aiohttp, **account)
    httpx = openai.AsyncOpenAI(**account)
    flex = ChatOpenAIFlex(model="o3", **account)
    plain = ChatOpenAI(model="o3", service_tier="flex", **account)
    return {
        OURS: lambda: ours.create(**_ASK),
        CHAIN: lambda: flex.ainvoke(_QUESTION),
        AIOHTTP: lambda: aiohttp.chat.completions.create(**_ASK, service_tier="flex"),
        HTTPX: lambda: httpx.chat.completions.create(**_ASK, service_tier="flex"),
        PLAIN_CHAIN: lambda: plain.ainvoke(_QUESTION),
        LONG_CHAIN: lambda: flex.ainvoke(_TALK),
        PLAIN_LONG_CHAIN: lambda: plain.ainvoke(_TALK),
    }


def _round(
    loop: asyncio.AbstractEventLoop, clients: dict[str, Call], at_once: int, first: int
) -> dict[str, Turn]:
    names = [name for name in clients if name not in _ON_HTTPX or at_once <= _MOST_ON_HTTPX]
    turns = {}
    for name in names[first % len(names) :] + names[: first % len(names)]:
        gc.collect()
        turns[name] = loop.run_until_complete(_turn(clients[name], at_once, CALLS[at_once]))
    return turns


async def _turn(call: Call, at_once: int, count: int) -> Turn:
    left = iter(range(count))

    async def worker() -> None:
        for _ in left:
            await call()

    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(worker() for _ in range(at_once)))
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    return Turn(count / took, cpu / count * 1000)


def ratios(measured: Rounds) -> list[Ratio]:
    """The comparisons, at each number of calls under way."""
    return [
        Ratio(number, ours, other, *_ratio(rounds, ours, other), targets.get(number))
        for number, rounds in measured.items()
        for ours, other, targets in _COMPARED
        if other in rounds[0]
    ]


def _ratio(rounds: list[dict[str, Turn]], ours: str, other: str) -> tuple[float, float]:
    pairs = [(turns[ours], turns[other]) for turns in rounds]
    return (
        statistics.median(one.per_second / two.per_second for one, two in pairs),
        statistics.median(two.cpu / one.cpu for one, two in pairs),
    )


def table(measured: Rounds) -> list[str]:
    """The medians as lines: calls a second and CPU of a call."""
    return [
        f"{number:>5} at once: {name:<24} {_median(rounds, name, 'per_second'):>7,.0f} calls/s"
        f" {_median(rounds, name, 'cpu'):>6.2f} ms CPU a call"
        for number, rounds in measured.items()
        for name in rounds[0]
    ]


def _median(rounds: list[dict[str, Turn]], name: str, field: str) -> float:
    return statistics.median(getattr(turns[name], field) for turns in rounds)


def report(
    rounds: int = ROUNDS, file: Path | None = None, at_once: Sequence[int] = tuple(CALLS)
) -> None:
    """Print the medians and the ratios; write the JSON file if one is asked for."""
    measured = measure(rounds, at_once)
    compared = ratios(measured)
    print("\n".join([*table(measured), *map(str, compared)]))
    if file is not None:
        document = {
            "turns": {
                number: [{name: asdict(turn) for name, turn in turns.items()} for turns in rounds]
                for number, rounds in measured.items()
            },
            "ratios": [asdict(ratio) for ratio in compared],
        }
        file.write_text(json.dumps(document, indent=2) + "\n")


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description="Async calls a second, many at once.")
    parser.add_argument("--rounds", type=int, metavar="N", default=ROUNDS)
    parser.add_argument(
        "--at-once", type=int, nargs="+", choices=tuple(CALLS), default=tuple(CALLS), metavar="N"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there, too")
    options = parser.parse_args()
    report(options.rounds, options.json, options.at_once)


if __name__ == "__main__":
    main()
