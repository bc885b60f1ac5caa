"""Threads and event loops in a crowd before one lane: everybody comes through, nothing is left.

No test here is timed. Of one that hangs, pytest shows where every thread is (faulthandler_timeout).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random
from typing import Any

import anyio
import openai
import pytest

from flextier import (
    AsyncFlexOpenAI,
    CallReport,
    Clock,
    FlexOpenAI,
    FlexPolicy,
    capacity_snapshot,
    track,
)
from flextier.sim import Fault, Simulator, Weather
from tests.client.callers import KEY, MESSAGES, settled

pytestmark = pytest.mark.exhaustive  # threads, loops and cancellations at random, in real time

POLICY = FlexPolicy(
    patience=1.5,
    flex_timeout=0.3,
    standard_timeout=30.0,
    standard_reserve=0.2,
    backoff_initial=0.01,
    backoff_max=0.05,
)
DEADLINE = POLICY.replace(deadline=0.6)
UNSENT = frozenset({"timeout", "cancelled"})
"""Outcomes of attempts that may have ended before they reached the server."""


@pytest.fixture
def sim(own_sim: Simulator) -> Iterator[Simulator]:
    """Connections are counted here, and threads are to be as many as before."""
    before = set(threading.enumerate())
    yield own_sim
    assert set(threading.enumerate()) <= before


class Crowd:
    """Calls from threads and from event loops, and what became of them."""

    def __init__(self, sim: Simulator, policy: FlexPolicy, clock: Clock | None = None) -> None:
        self.sim = sim
        self.options: dict[str, Any] = {
            "base_url": sim.base_url,
            "api_key": KEY,
            "policy": policy,
            **({} if clock is None else {"clock": clock}),
        }
        self.made = 0
        self.reports: list[CallReport] = []
        self.ends: Counter[str] = Counter()
        self.trouble: list[BaseException] = []

    def client(self) -> FlexOpenAI:
        return FlexOpenAI(**self.options)

    def async_client(self) -> AsyncFlexOpenAI:
        return AsyncFlexOpenAI(**self.options)

    def call(self, client: FlexOpenAI, stream: bool) -> None:
        """One call of a thread."""
        self.made += 1
        with track() as calls:
            try:
                answer = client.chat.completions.create(
                    model="o3", messages=MESSAGES, stream=stream
                )
                if stream:
                    list(answer)
                self.ends["answer"] += 1
            except openai.OpenAIError:
                self.ends["error"] += 1
        self.reports += calls

    async def acall(self, client: AsyncFlexOpenAI, stream: bool) -> None:
        """One call of a task."""
        self.made += 1
        with track() as calls:
            try:
                answer: Any = await client.chat.completions.create(
                    model="o3", messages=MESSAGES, stream=stream
                )
                if stream:
                    async with answer:
                        [chunk async for chunk in answer]
                self.ends["answer"] += 1
            except openai.OpenAIError:
                self.ends["error"] += 1
            except (asyncio.CancelledError, GeneratorExit):
                self.ends["cancelled"] += 1
                raise
            finally:
                self.reports += calls

    def thread(self, client: FlexOpenAI, calls: int) -> Callable[[], None]:
        """A thread's work."""
        return lambda: [self.call(client, stream=n % 3 == 0) for n in range(calls)] and None

    def loop(
        self, client: AsyncFlexOpenAI, calls: int, seed: int, cancelled: float = 0.5
    ) -> Callable[[], None]:
        """An event loop's work: all calls at once, a share of them given up at some point."""

        async def main() -> None:
            chance = Random(seed)
            async with anyio.create_task_group() as group:
                for n in range(calls):
                    gives_up = chance.uniform(0, 0.4) if chance.random() < cancelled else None
                    how = _GIVING_UP[n % len(_GIVING_UP)]
                    group.start_soon(how, self.acall(client, n % 3 == 0), gives_up)
            assert await _alone()
            await client.close()

        return lambda: asyncio.run(main())

    def run(self, *works: Callable[[], None]) -> None:
        """All of these at the same time, each in a thread."""

        def guarded(work: Callable[[], None]) -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - raised by the test's own thread
                self.trouble.append(error)

        threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.trouble:
            raise self.trouble[0]

    def check(self, unsent: frozenset[str] = UNSENT) -> None:
        """Everybody came to an end, and nothing is left of them."""
        assert sum(self.ends.values()) == self.made == len(self.reports)
        assert [(lane.waiting, lane.in_flight) for lane in capacity_snapshot()] in (
            [(0, 0)],
            [(0, 0), (0, 0)],
        )
        assert settled(self.sim) == 0
        attempts = [attempt for report in self.reports for attempt in report.attempts]
        missing = len(attempts) - len(self.sim.requests)
        may_be = sum(a.outcome in unsent or not a.sent for a in attempts)
        assert 0 <= missing <= may_be, Counter(a.outcome for a in attempts)


async def _alone() -> bool:
    """Whether no task is left, once asyncio has closed what generators were dropped."""
    for _ in range(60_000):
        if asyncio.all_tasks() == {asyncio.current_task()}:
            return True
        await asyncio.sleep(0.005)
    return False


async def _as_task(call: Any, seconds: float | None) -> None:
    task = asyncio.ensure_future(call)
    if seconds is not None:
        await asyncio.wait([task], timeout=seconds)
        task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _in_a_scope(call: Any, seconds: float | None) -> None:
    with anyio.move_on_after(seconds):
        await call


async def _with_a_timeout(call: Any, seconds: float | None) -> None:
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(call, seconds)


_GIVING_UP = (_as_task, _in_a_scope, _with_a_timeout)

FLAPS = tuple((at / 20, at / 20 + 0.05) for at in range(0, 2_000, 2))
WEATHERS: dict[str, tuple[Weather, FlexPolicy]] = {
    "open": (Weather(flex_latency=(0.0, 0.05)), POLICY),
    "flaps": (Weather(outages=FLAPS, flex_latency=(0.0, 0.02)), POLICY),
    "flaps, with a word": (Weather(outages=FLAPS, retry_after=0.05), POLICY),
    "refuses at random": (Weather(refuse=0.3, flex_latency=(0.0, 0.05)), POLICY),
    "three slots": (Weather(slots=3, flex_latency=(0.0, 0.05)), POLICY),
    "shut": (Weather(slots=0), POLICY.replace(patience=0.5)),
    "stalls": (Weather(stall=0.2), POLICY.replace(flex_timeout=0.1)),
    "deadlines": (Weather(slots=2, flex_latency=(0.0, 0.2)), DEADLINE),
    "everything": (
        Weather(outages=FLAPS, refuse=0.2, stall=0.1, slots=5, flex_latency=(0.0, 0.05)),
        DEADLINE.replace(flex_timeout=0.1),
    ),
}


def _everybody(crowd: Crowd) -> None:
    """Threads on one client and on their own, event loops on one client and on their own."""
    shared, own = crowd.client(), crowd.client()
    many = crowd.async_client()
    with shared, own:
        crowd.run(
            *(crowd.thread(shared, 8) for _ in range(3)),
            crowd.thread(own, 8),
            crowd.loop(crowd.async_client(), 15, 1),
            crowd.loop(many, 15, 2),
            crowd.loop(crowd.async_client(), 15, 3, cancelled=0.0),
        )


@pytest.mark.parametrize(("weather", "policy"), WEATHERS.values(), ids=WEATHERS)
def test_a_crowd(weather: Weather, policy: FlexPolicy, sim: Simulator) -> None:
    """In every weather each call ends in an answer or an error, and none leaves anything behind."""
    sim.weather = weather
    crowd = Crowd(sim, policy)
    _everybody(crowd)
    crowd.check()


def test_a_crowd_on_one_async_client(sim: Simulator) -> None:
    """Several event loops at once may use one client object."""
    sim.weather = Weather(slots=4, refuse=0.1, flex_latency=(0.0, 0.05))
    crowd = Crowd(sim, POLICY)
    client = crowd.async_client()

    def work(seed: int) -> Callable[[], None]:
        async def main() -> None:
            await asyncio.gather(*(crowd.acall(client, n % 3 == 0) for n in range(12)))
            assert await _alone()

        return lambda: asyncio.run(main())

    crowd.run(*(work(seed) for seed in range(4)))
    asyncio.run(client.close())
    crowd.check()


@pytest.mark.parametrize("wait", [5, 60])
def test_a_crowd_under_a_rate_limit(wait: float, sim: Simulator) -> None:
    """Rate limits on both lanes space everybody out, and let everybody through."""
    # Few, and at first: after more the limiter takes the limit to be what came through in a minute.
    sim.script(*(Fault.rate_limit(retry_after_ms=wait) for _ in range(5)))
    crowd = Crowd(sim, POLICY)
    _everybody(crowd)
    crowd.check()


def test_a_clock_that_jumps(sim: Simulator) -> None:
    """A clock that leaps ahead by minutes, and back a little, makes no call wait without end."""
    sim.weather = Weather(outages=FLAPS, refuse=0.1, slots=5, flex_latency=(0.0, 0.02))
    ahead, over = [0.0], threading.Event()

    def jump() -> None:
        chance = Random(7)
        while not over.wait(0.03):
            ahead[0] += chance.choice([150.0, -0.2, -0.02, 0.4])

    crowd = Crowd(
        sim, POLICY.replace(patience=300.0), Clock(now=lambda: time.monotonic() + ahead[0])
    )
    jumping = threading.Thread(target=jump)
    jumping.start()
    try:
        _everybody(crowd)
    finally:
        over.set()
        jumping.join()
    crowd.check()


@pytest.fixture
def shut_crowd(sim: Simulator) -> Crowd:
    """A lane that is known to be shut for half a second, so that calls wait without a socket."""
    sim.script(Fault.refuse(retry_after=0.5))
    crowd = Crowd(sim, POLICY.replace(patience=0.0))
    with crowd.client() as client:
        crowd.call(client, stream=False)
    crowd.options["policy"] = POLICY.replace(patience=30.0)
    return crowd


def test_a_loop_that_is_gone(shut_crowd: Crowd) -> None:
    """The first in line have lost their event loop: those behind them go in all the same."""
    crowd, loop = shut_crowd, asyncio.new_event_loop()
    gone = crowd.async_client()
    create: Any = gone.chat.completions.create
    tasks = [loop.create_task(create(model="o3", messages=MESSAGES)) for _ in range(20)]
    loop.run_until_complete(asyncio.sleep(0.05))
    assert [lane.waiting for lane in capacity_snapshot() if lane.lane == "flex"] == [20]
    loop.close()
    with crowd.client() as client:
        crowd.run(*(crowd.thread(client, 3) for _ in range(4)))
    assert crowd.ends == {"answer": 13}
    assert [lane.waiting for lane in capacity_snapshot()] == [0, 0]
    crowd.check()
    for task in tasks:  # or asyncio complains of tasks that were left
        task._log_destroy_pending = False
        task.get_coro().close()


def test_a_loop_that_ends(shut_crowd: Crowd) -> None:
    """``asyncio.run`` that returns while its tasks wait takes them out of line."""
    crowd, client = shut_crowd, shut_crowd.async_client()

    async def leaves() -> None:
        tasks = [asyncio.ensure_future(crowd.acall(client, False)) for _ in range(20)]
        await asyncio.sleep(0.05)
        assert not any(task.done() for task in tasks)

    asyncio.run(leaves())
    with crowd.client() as other:
        crowd.run(*(crowd.thread(other, 3) for _ in range(4)))
    assert crowd.ends == {"answer": 13, "cancelled": 20}
    crowd.check()


def test_a_client_that_is_closed(shut_crowd: Crowd) -> None:
    """Calls that wait while their client is closed end in an error, each of them."""
    crowd = shut_crowd
    client, other = crowd.client(), crowd.async_client()

    def close() -> None:
        time.sleep(0.05)
        client.close()

    async def main() -> None:
        tasks = [asyncio.ensure_future(crowd.acall(other, n % 2 == 0)) for n in range(6)]
        await asyncio.sleep(0.05)
        await other.close()
        await asyncio.gather(*tasks)

    crowd.run(close, *(crowd.thread(client, 1) for _ in range(4)), lambda: asyncio.run(main()))
    assert crowd.ends == {"answer": 1, "error": 10}
    crowd.check(unsent=frozenset({"transient", "error"}))
