"""Calls of one process share what they learn of a lane: threads, event loops, streams."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import openai
import pytest

from flextier import (
    AsyncFlexOpenAI,
    Clock,
    FlexDeadlineExceeded,
    FlexOpenAI,
    FlexPolicy,
    FlexUnavailable,
    LaneState,
    capacity_snapshot,
    track,
)
from flextier.calls.context import listen
from flextier.capacity import CAPACITY, limiter
from flextier.sim import Fault, Simulator, Weather
from tests.client.callers import FAST, KEY, MESSAGES, Caller

pytestmark = pytest.mark.sampled(2)

SYNC = Caller("chat", stream=False, is_async=False)
ASYNC = Caller("chat", stream=False, is_async=True)
OPEN, SHUT = Weather(), Weather(slots=0)
RARELY = FAST.replace(backoff_initial=0.2, backoff_max=0.4, patience=60)
"""Probes of a lane that is held: every 0.2 to 0.4 s."""
HARDLY = FAST.replace(backoff_initial=60, backoff_max=60)
"""No probe for as long as a test takes."""


@pytest.fixture
def sim(own_sim: Simulator) -> Simulator:
    """A simulator whose refusals are known to come fast: what a process learns in a minute."""
    for caller in (ASYNC, SYNC):
        caller(own_sim.base_url)  # the first call of a process imports, which takes its time
    for _ in range(2):
        own_sim.script(Fault.refuse())
        SYNC(own_sim.base_url)
    own_sim.reset()
    return own_sim


def flex() -> LaneState:
    """What is known of the flex lane."""
    (state,) = [state for state in capacity_snapshot() if state.lane == "flex"]
    return state


def hold(sim: Simulator, caller: Caller = SYNC) -> None:
    """Make the process learn that the flex lane refuses everything, without any word when to come
    back; the next probe is a minute away.
    """
    sim.weather = SHUT
    for _ in range(20):
        caller(sim.base_url, HARDLY.replace(patience=0))
        if flex().state == "shut":
            sim.reset()
            return
    raise AssertionError(f"the lane is not held: {flex()}")


def shut_for(sim: Simulator, seconds: float, caller: Caller = SYNC) -> float:
    """Make the process learn that the flex lane is shut for so long; the moment it opens."""
    sim.script(Fault.refuse(retry_after=seconds))
    caller(sim.base_url, FAST.replace(patience=0))
    until = time.time() + flex().opens_in
    sim.reset()
    return until


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something has come true."""
    for _ in range(60_000):
        if holds():
            return
        time.sleep(0.005)
    raise AssertionError("it did not come true")


async def aeventually(holds: Callable[[], bool]) -> None:
    """The same, on an event loop."""
    for _ in range(60_000):
        if holds():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come true")


def make_async(sim: Simulator, **arguments: Any) -> AsyncFlexOpenAI:
    """An async client of the simulator."""
    return AsyncFlexOpenAI(
        **{"base_url": sim.base_url, "api_key": KEY, "policy": FAST, **arguments}
    )


def make(sim: Simulator, **arguments: Any) -> FlexOpenAI:
    """A sync client of the simulator."""
    return FlexOpenAI(**{"base_url": sim.base_url, "api_key": KEY, "policy": FAST, **arguments})


async def ask(client: AsyncFlexOpenAI, what: str = "A colour?", **more: Any) -> Any:
    """One plain call."""
    message = [{"role": "user", "content": what}]
    return await client.chat.completions.create(model="o3", messages=message, **more)


# --- a lane that is shut ----------------------------------------------------------------------


async def test_many_that_wait_send_few_requests(sim: Simulator) -> None:
    """Fifty calls on a shut lane: the first ten find out, and then one asks now and then. When the
    lane opens, all are answered on it.
    """
    CAPACITY.reset()  # else a busy machine would be slower than refusals are known to be
    sim.weather = SHUT
    with track() as calls:
        async with make_async(sim, policy=RARELY) as client:
            tasks = [asyncio.ensure_future(ask(client)) for _ in range(50)]
            await aeventually(lambda: len(sim.requests) >= 10)
            await aeventually(lambda: flex().state == "shut")
            await asyncio.sleep(0.8)
            assert len(sim.requests) <= 10 + 6
            assert flex().waiting >= 49
            refused = len(sim.requests)
            sim.weather = OPEN
            await asyncio.gather(*tasks)
    assert {(call.lane, call.fallback) for call in calls} == {("flex", None)}
    assert len(calls) == 50
    assert len(sim.requests) <= refused + 1 + 50, "a probe may have been on its way"
    assert flex().state == "open"


@pytest.mark.parametrize(("learns", "waits"), [(SYNC, ASYNC), (ASYNC, SYNC)], ids=str)
def test_threads_and_loops_share_what_they_learn(
    learns: Caller, waits: Caller, sim: Simulator
) -> None:
    """One is refused, the other one waits and is not."""
    until = shut_for(sim, 0.6, learns)

    outcome = waits(sim.base_url)

    assert outcome.outcomes == ["served"]
    assert outcome.report.waited > 0.2
    assert sim.requests[0].started >= until - 0.05


def test_threads_and_loops_let_each_other_in(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many of either wait for one lane: when it opens, none is forgotten."""
    monkeypatch.setattr(limiter, "_RECHECK_AFTER", 3_600.0)  # no call polls by itself
    shut_for(sim, 0.5)
    with track() as calls, ThreadPoolExecutor(8) as pool:
        context = copy_context()
        threads = [
            pool.submit(context.copy().run, lambda: SYNC(sim.base_url, RARELY)) for _ in range(6)
        ]
        eventually(lambda: flex().waiting == 6)

        async def run() -> None:
            async with make_async(sim, policy=RARELY) as client:
                await asyncio.gather(*[ask(client) for _ in range(6)])

        asyncio.run(run())
        outcomes = [thread.result() for thread in threads]
    assert all(outcome.outcomes == ["served"] for outcome in outcomes)
    assert len(sim.requests) == 12
    assert {call.lane for call in calls} <= {"flex"}


async def test_a_retry_after_keeps_all_others_from_asking(sim: Simulator) -> None:
    """Calls that begin after it send nothing before it is over, and are answered on flex then."""
    until = await asyncio.to_thread(shut_for, sim, 0.6)
    with track() as calls:
        async with make_async(sim) as client:
            await asyncio.gather(*[ask(client) for _ in range(20)])
    assert len(sim.requests) == 20
    assert min(request.started for request in sim.requests) >= until - 0.05
    assert {call.lane for call in calls} == {"flex"}
    assert all(call.waited > 0.1 for call in calls)


async def test_the_earliest_deadline_goes_first(sim: Simulator) -> None:
    """In any order: the one probe that is admitted is of the call with the least time left."""
    await asyncio.to_thread(shut_for, sim, 0.6)
    async with make_async(sim) as client:
        tasks = []
        for waiting, deadline in enumerate([300, 100, 30, 200]):
            mine = client.with_options(policy=FAST.replace(deadline=deadline))
            tasks.append(asyncio.ensure_future(ask(mine, f"within {deadline}")))
            await aeventually(lambda: flex().waiting > waiting)  # noqa: B023 - used at once
        await asyncio.gather(*tasks)
    first = sim.requests[0].body
    assert first is not None
    assert first["messages"][0]["content"] == "within 30"


async def test_a_cancelled_wait_passes_its_turn_on(sim: Simulator) -> None:
    """The most urgent one goes; the next one is let in as if it had been first."""
    await asyncio.to_thread(shut_for, sim, 0.5)
    with track() as calls:
        async with make_async(sim) as client:
            urgent = client.with_options(policy=FAST.replace(deadline=30))
            first = asyncio.ensure_future(ask(urgent))
            await aeventually(lambda: flex().waiting == 1)
            second = asyncio.ensure_future(ask(client))
            await aeventually(lambda: flex().waiting == 2)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            assert flex().waiting == 1
            await second
    cancelled, served = calls
    assert (cancelled.attempts, cancelled.error) == ((), "CancelledError")
    assert cancelled.waited > 0
    assert served.lane == "flex"
    assert served.waited < 3, "it did not wait until it looked by itself"


def test_whatever_ends_a_wait_ends_the_call(sim: Simulator) -> None:
    """An interrupt between two attempts is not taken for one more failed attempt."""

    def sleep(seconds: float) -> None:
        if seconds > 0:
            raise KeyboardInterrupt

    sim.script(Fault.refuse())
    with (
        track() as calls,
        make(sim, clock=Clock(sleep=sleep)) as client,
        pytest.raises(KeyboardInterrupt),
    ):
        client.chat.completions.create(model="o3", messages=MESSAGES)
    assert len(sim.requests) == 1
    assert [(call.error, len(call.attempts)) for call in calls] == [("KeyboardInterrupt", 1)]
    assert (flex().waiting, flex().in_flight) == (0, 0)


# --- calls that are never let in --------------------------------------------------------------


def test_a_call_without_attempts_says_so(plain: Caller, sim: Simulator) -> None:
    """Its report has the wait and the reason, and no attempt on flex."""
    hold(sim)

    outcome = plain(sim.base_url, FAST.replace(patience=0.3))

    assert outcome.lanes == ["standard"]
    assert [request.tier for request in sim.requests] == ["default"]
    assert outcome.report.fallback == "capacity"
    assert outcome.report.first_lane == "flex"
    assert 0.28 < outcome.report.waited < 5


def test_a_call_that_could_only_wait_without_success_raises(plain: Caller, sim: Simulator) -> None:
    """Flex alone, and patience spent: a rate-limit error that names the knob; nothing was sent."""
    hold(sim)

    outcome = plain(sim.base_url, FAST.replace(patience=0.2, lanes=("flex",)))

    error = outcome.error
    assert type(error) is FlexUnavailable
    assert isinstance(error, openai.RateLimitError)
    assert "FLEXTIER_PATIENCE" in str(error)
    assert "'o3'" in str(error)
    assert (error.status_code, error.code) == (429, "flex_unavailable")
    assert error.report is outcome.report  # type: ignore[attr-defined]
    assert outcome.report.attempts == ()
    assert outcome.report.waited > 0.18
    assert outcome.report.error == "FlexUnavailable"
    assert sim.requests == []


@pytest.mark.sampled(2)
def test_a_call_that_was_refused_raises_the_servers_error(caller: Caller, sim: Simulator) -> None:
    """It has one of its own."""
    sim.weather = SHUT

    outcome = caller(sim.base_url, FAST.replace(patience=0.3, lanes=("flex",)))

    assert type(outcome.error) is openai.RateLimitError
    assert outcome.error.request_id == outcome.report.attempts[-1].request_id
    assert "FLEXTIER_PATIENCE" in str(outcome.error)
    assert set(outcome.outcomes) == {"capacity"}
    assert outcome.error.report is outcome.report  # type: ignore[attr-defined]


@pytest.mark.sampled(2)
def test_a_deadline_that_ends_a_wait_is_reported(plain: Caller, sim: Simulator) -> None:
    """The error is ours, and has the server's as its cause, if it had one."""
    sim.weather = SHUT
    policy = HARDLY.replace(deadline=2, lanes=("flex",))

    refused = plain(sim.base_url, policy)
    hold(sim)
    waited = plain(sim.base_url, policy)

    assert type(refused.error) is type(waited.error) is FlexDeadlineExceeded
    assert type(refused.error.__cause__) is openai.RateLimitError
    assert waited.error.__cause__ is None
    assert (len(refused.report.attempts) > 0, waited.report.attempts) == (True, ())
    assert waited.report.elapsed < 20


def test_waits_of_one_call_add_up(own_sim: Simulator) -> None:
    """A wait of its own and the one in line are one after the other, and both count."""
    clock = Virtual()
    own_sim.script(Fault.refuse(retry_after=3))
    SYNC(own_sim.base_url, FAST.replace(patience=0), clock.clock())

    outcome = SYNC(own_sim.base_url, FAST.replace(start_jitter=2), clock.clock())

    assert outcome.report.waited == pytest.approx(3.0, abs=0.1)
    assert outcome.report.elapsed == pytest.approx(3.0, abs=0.1)


# --- a lane with few places -------------------------------------------------------------------


async def test_a_lane_that_is_full_is_held_at_what_it_takes(sim: Simulator) -> None:
    """Two places, six calls: all are answered on flex, and what is shown of the lane is true."""
    sim.weather = Weather(slots=2, flex_latency=1.0)
    with track() as calls:
        async with make_async(sim, policy=FAST.replace(backoff_initial=5, backoff_max=5)) as client:
            tasks = [asyncio.ensure_future(ask(client)) for _ in range(6)]
            await aeventually(lambda: len(sim.requests) == 6)
            await aeventually(lambda: flex().limit == 2)
            shown = flex()
            await asyncio.gather(*tasks)
    assert (shown.state, shown.in_flight, shown.waiting, shown.refused) == ("held", 2, 4, 4 + 2)
    assert {call.lane for call in calls} == {"flex"}
    assert sum(len(call.attempts) for call in calls) <= 6 + 4 + 2
    assert (flex().in_flight, flex().waiting) == (0, 0)


STREAM_ENDS: dict[str, Callable[[Any], None]] = {
    "read": list,
    "closed": lambda stream: stream.close(),
    "closed half way": lambda stream: (next(stream), stream.close()),
    "left": lambda stream: stream.__exit__(None, None, None),
    "response closed": lambda stream: stream.response.close(),
}


@pytest.mark.parametrize("end", STREAM_ENDS.values(), ids=STREAM_ENDS)
def test_a_stream_gives_its_place_back(end: Callable[[Any], None], sim: Simulator) -> None:
    """It is in flight for as long as it is open."""
    with make(sim) as client:
        stream = client.chat.completions.create(model="o3", messages=MESSAGES, stream=True)
        assert flex().in_flight == 1
        end(stream)
        assert flex().in_flight == 0


async def test_an_async_stream_gives_its_place_back(sim: Simulator) -> None:
    """Read, closed, or its reader cancelled."""
    async with make_async(sim) as client:
        for how in ("read", "closed", "cancelled"):
            sim.script(*[Fault.stream_stall(after=3)] * (how == "cancelled"))
            stream = await ask(client, stream=True)
            assert flex().in_flight == 1
            if how == "closed":
                await stream.close()
            else:
                task = asyncio.ensure_future(_read(stream))
                if how == "cancelled":
                    await asyncio.sleep(0.02)
                    task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            assert flex().in_flight == 0


async def _read(stream: Any) -> None:
    async for _ in stream:
        pass


def test_a_stream_that_is_dropped_gives_its_place_back(sim: Simulator) -> None:
    """A stream that was never read or closed counts no more once it is collected."""
    sim.script(Fault.stream_stall(after=3))
    with make(sim) as client:
        stream = client.chat.completions.create(model="o3", messages=MESSAGES, stream=True)
        time.sleep(0.3)  # by then it is known to be in
        client.chat.completions.create(model="o3", messages=MESSAGES)
        assert flex().in_flight == 1
        del stream
        gc.collect()
        assert flex().in_flight == 0


# --- what is learnt of answers ----------------------------------------------------------------


@pytest.mark.parametrize("kind", [SYNC, ASYNC], ids=str)
async def test_the_reserve_is_what_standard_was_seen_to_take(kind: Caller, sim: Simulator) -> None:
    """After twenty answers on standard, a call leaves flex that much before its deadline."""
    sim.weather = Weather(standard_latency=0.2)
    policy = FAST.replace(deadline=3, standard_reserve=2.8)
    sim.script(Fault.stall())
    before = await asyncio.to_thread(kind, sim.base_url, policy)
    async with make_async(sim, policy=FAST.replace(lanes=("standard",))) as client:
        await asyncio.gather(*[ask(client) for _ in range(20)])
    sim.script(Fault.stall())

    after = await asyncio.to_thread(kind, sim.base_url, policy)

    assert before.outcomes == ["timeout", "served"]
    assert after.outcomes[0] == "timeout"
    (standard,) = [state for state in capacity_snapshot() if state.lane == "standard"]
    assert standard.slow_seconds is not None
    left = 3 - 1.2 * standard.slow_seconds
    assert before.report.attempts[0].seconds < left
    assert after.report.attempts[0].seconds == pytest.approx(left, abs=0.6)


def test_streams_are_not_timed(sim: Simulator) -> None:
    """They take as long as they are read."""
    with make(sim) as client:
        for _ in range(25):
            list(client.chat.completions.create(model="o3", messages=MESSAGES, stream=True))
    assert flex().typical_seconds is None
    assert flex().answered >= 25


# --- calls that begin at the same moment ------------------------------------------------------


class Virtual:
    """A clock whose sleeps take no time, but are counted."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def clock(self) -> Clock:
        """The clock to pass in; chance is always a half."""
        return Clock(
            now=lambda: self.now, sleep=self._sleep, async_sleep=self._asleep, random=lambda: 0.5
        )

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    async def _asleep(self, seconds: float) -> None:
        self.now += seconds


def test_start_jitter(caller: Caller, own_sim: Simulator) -> None:
    """A random part of it is waited before the first attempt, and reported."""
    outcome = caller(own_sim.base_url, FAST.replace(start_jitter=40), Virtual().clock())

    assert outcome.outcomes == ["served"]
    assert outcome.report.waited == pytest.approx(20)


def test_without_start_jitter_nothing_is_waited(caller: Caller, sim: Simulator) -> None:
    """As by default."""
    assert caller(sim.base_url, FlexPolicy()).report.waited == 0


# --- rate limits ------------------------------------------------------------------------------


def test_a_rate_limit_is_everybodys(sim: Simulator) -> None:
    """After one call has met it, no call of either lane goes out before the server said."""
    sim.script(Fault.rate_limit(retry_after=0.4))
    limited = threading.Event()
    moment: list[float] = []

    def listener(_: Any) -> None:
        moment.append(time.time())
        limited.set()

    reports: list[Future[Any]] = []
    with ThreadPoolExecutor(8) as pool, listen(on_retry=listener):
        reports.append(pool.submit(copy_context().run, lambda: SYNC(sim.base_url)))
        limited.wait()
        lanes = (("flex", "standard"), ("standard",))
        reports += [
            pool.submit(caller, sim.base_url, FAST.replace(lanes=lanes[n % 2]))
            for n, caller in enumerate([SYNC, SYNC, ASYNC, ASYNC])
        ]
        outcomes = [report.result() for report in reports]
    assert all(outcome.error is None for outcome in outcomes)
    _, *after = sim.requests
    assert len(after) == 5
    assert min(request.started for request in after) >= moment[0] + 0.35
    assert {request.tier for request in after} == {"flex", "default"}
    assert max(r.started for r in after) - min(r.started for r in after) > 0.1, "spaced out"


# --- trio -------------------------------------------------------------------------------------


def test_under_trio(sim: Simulator) -> None:
    """Tasks of trio wait in the same line as everybody else."""
    trio = pytest.importorskip("trio")
    until = shut_for(sim, 0.5)

    async def run() -> None:
        http_client = openai.DefaultAsyncHttpxClient()
        async with (
            make_async(sim, http_client=http_client) as client,
            trio.open_nursery() as nursery,
        ):
            for _ in range(3):
                nursery.start_soon(ask, client)

    with track() as calls:
        trio.run(run)
    assert [call.lane for call in calls] == ["flex"] * 3
    assert min(request.started for request in sim.requests) >= until - 0.05
