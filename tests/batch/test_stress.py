"""Random outcomes, faults and cancellations: every call ends, with its own answer, paid once."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from random import Random
from typing import Any

import pytest

from flextier import AsyncFlexOpenAI, FlexOpenAI
from flextier.sim import BatchOutcome, BatchWeather, Fault, Simulator, Weather
from tests.batch.conftest import forget
from tests.batch.crowd import POLICY, Said, aask, ask, options, until

ROUNDS = int(os.environ.get("FLEXTIER_STRESS", "2"))
PLACES: list[dict[str, Any]] = [
    {"method": "POST", "path": "/files"},
    {"method": "POST", "path": "/batches"},
    {"method": "GET", "path": "/batches/{id}"},
    {"method": "POST", "path": "/batches/{id}/cancel"},
    {"method": "GET", "path": "/files/{id}/content"},
]
FAULTS = [
    Fault.status(500),
    Fault.rate_limit(retry_after_ms=10),
    Fault.reset(),
    Fault.reset(after_effect=True),
    Fault.cut(25),
    Fault.not_json(),
]


def outcome(chance: Random) -> BatchOutcome:
    """Something that can become of a batch."""
    makers = (
        lambda: BatchOutcome.expire(after=chance.randrange(6)),
        lambda: BatchOutcome.cancel(after=chance.randrange(6)),
        lambda: BatchOutcome.fail("empty_file"),
        lambda: BatchOutcome.fail({"code": "odd", "line": 1}),
        lambda: BatchOutcome.fail({"code": "token_limit_exceeded", "message": "No room."}),
        lambda: BatchOutcome.only_errors(chance.choice((429, 500))),
    )
    return chance.choice(makers)()


@pytest.mark.parametrize("journal", [False, True], ids=["plain", "journal"])
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_a_random_day(seed: int, journal: bool, sim: Simulator, tmp_path: Path) -> None:
    """Tasks and threads, some cancelled, in random weather: nothing is lost, or paid twice."""
    chance = Random(seed)
    sim.weather = Weather(
        batch=BatchWeather(seconds=(0.0, 0.15), line_errors=0.1, line_rate_limits=0.1)
    )
    sim.script_batches(*[outcome(chance) for _ in range(4)])
    sim.script(*[chance.choice(FAULTS).on(**chance.choice(PLACES)) for _ in range(10)])
    policy = POLICY.replace(batch_window=0.05, max_retries=5)
    if journal:
        policy = policy.replace(journal=str(tmp_path / "calls.db"))
    made, said, cancelled = options(sim, policy), list[Said](), list[str]()
    descriptors = _descriptors()
    before = set(threading.enumerate())

    async def one(client: AsyncFlexOpenAI, question: str, start: float, stop: float | None) -> None:
        await asyncio.sleep(start)
        try:
            said.append(await asyncio.wait_for(aask(client, question), stop))
        except (asyncio.TimeoutError, TimeoutError):
            cancelled.append(question)

    def loop(name: str) -> None:
        async def main() -> None:
            async with AsyncFlexOpenAI(**made) as client:
                await asyncio.gather(
                    *(
                        one(client, f"What of {name} {n}?", start[n], stop[n])
                        for n in range(len(start))
                    )
                )

        start = [chance.uniform(0, 0.4) for _ in range(20)]
        stop = [chance.uniform(0, 0.3) if chance.random() < 0.2 else None for _ in start]
        asyncio.run(main())

    def thread(name: str) -> None:
        with FlexOpenAI(**made) as client:
            for n in range(4):
                said.append(ask(client, f"What of {name} {n}?"))

    works = [threading.Thread(target=loop, args=(f"loop {n}",)) for n in range(2)]
    works += [threading.Thread(target=thread, args=(f"thread {n}",)) for n in range(4)]
    for work in works:
        work.start()
    for work in works:
        work.join()
    assert len(said) + len(cancelled) == 2 * 20 + 4 * 4
    wrong = [one for one in said if not one.is_right]
    assert not wrong
    paid = sim.paid()
    doubtful = sum(a.possibly_billed for one in said for a in one.report.attempts)
    assert len(paid["twice"]) <= doubtful
    until(lambda: set(threading.enumerate()) <= before, "the end of all threads")
    forget()
    until(lambda: _descriptors() <= descriptors + 1, "the end of all descriptors")


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
