"""What benchmarks that kill processes share: moments, the journal, the account of payments."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from flextier.sim import BatchWeather, Simulator, Weather

Moment: TypeAlias = "Callable[[Simulator, Callable[[], bool]], None]"
"""Waits for the moment to kill a process, or until the function says that it is over."""
_STARTS_IN = 1.5
"""Seconds that a process takes to its first request, about."""


def provider(latency: float) -> Simulator:
    """A provider that records what was paid for."""
    batches = BatchWeather(validating=0.1, seconds=(0.2, 1.5), finalizing=0.1)
    return Simulator(
        Weather(batch=batches),
        latency=latency,
        flex_latency=latency,
        keep_requests=1,
        record_bodies=False,
        record_paid=True,
    )


def account(simulator: Simulator) -> tuple[int, int, int, list[str]]:
    """How many answers were paid for; again; again and in a batch; and which, as digests."""
    paid = simulator.paid()
    again = [(line["times"] - 1, line["lanes"]) for line in paid["twice"]]
    in_batches = sum("batch" in lanes for _, lanes in again)
    digests = [line["digest"] for line in paid["twice"]]
    return paid["payments"], sum(times for times, _ in again), in_batches, digests


def journaled(journal: Path) -> tuple[set[bytes], int]:
    """The keys of calls asked and not answered, and lines of batches, by a killed run's journal."""
    if not journal.exists():
        return set(), 0
    try:
        connection = sqlite3.connect(journal)
        states = connection.execute("SELECT state, key FROM calls WHERE state != 'done'").fetchall()
        connection.close()
    except sqlite3.OperationalError:  # killed before there was a table
        return set(), 0
    return {key for state, key in states if state == "asked"}, sum(
        s == "batched" for s, _ in states
    )


def moments(chance: random.Random, requests: int, kills: int, lanes: str) -> list[Moment]:
    """When to kill a process that makes as many requests."""
    choose = _batch_moments if "batch" in lanes else _moments
    return choose(chance, requests, kills)


def _moments(chance: random.Random, requests: int, kills: int) -> list[Moment]:
    """When to kill: mostly after a number of requests, sometimes after some seconds."""
    late = max(kills // 10, 1)
    counts = sorted(chance.randrange(requests) for _ in range(kills - late)) + [requests] * late
    moments: list[Moment] = []
    for count in counts:
        if count < requests and chance.random() < 0.1:
            moments.append(_after(chance.uniform(0, _STARTS_IN)))
        else:
            moments.append(_at(count, chance.uniform(0, 0.05 if count < requests else 0.4)))
    return moments


_REQUESTS = ("/v1/files", "/v1/batches", "/v1/batches/{id}", "/v1/files/{id}/content")
"""That a batch takes, in their order."""


def _batch_moments(chance: random.Random, requests: int, kills: int) -> list[Moment]:
    """When to kill: at one of the requests that a batch takes, or after some seconds."""
    moments: list[Moment] = []
    for _ in range(kills):
        if chance.random() < 0.3:
            moments.append(_after(chance.uniform(0, 3 * _STARTS_IN)))
        else:
            moments.append(_at_path(chance.choice(_REQUESTS), chance.uniform(0, 0.1)))
    return moments


def _at_path(path: str, then: float) -> Moment:
    def moment(simulator: Simulator, is_over: Callable[[], bool]) -> None:
        before = simulator.stats()["paths"].get(path, 0)
        ends = time.monotonic() + 6 * _STARTS_IN
        while simulator.stats()["paths"].get(path, 0) == before and time.monotonic() < ends:
            if is_over():
                return
            time.sleep(0.002)
        time.sleep(then)

    return moment


def _at(count: int, then: float) -> Moment:
    def moment(simulator: Simulator, is_over: Callable[[], bool]) -> None:
        before = simulator.stats()["requests"]
        # At least something of this start's own.
        while simulator.stats()["requests"] < max(count, before + 1) and not is_over():
            time.sleep(0.002)
        time.sleep(then)

    return moment


def _after(seconds: float) -> Moment:
    return lambda simulator, is_over: time.sleep(seconds)
