"""``override(until=…)``: one end for all calls inside, as a time of day; in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest

import flextier
from flextier import (
    Clock,
    FlexDeadlineExceeded,
    FlexOpenAI,
    FlexPolicy,
    PolicyError,
    override,
    track,
)
from flextier.calls.context import current_scope
from flextier.sim import BatchWeather, Simulator, Weather
from tests.client.callers import KEY, MESSAGES, Caller

EVENING = datetime(2026, 11, 20, 22, 0).timestamp()
CALLER = Caller("chat", stream=False, is_async=False)


class WallClock:
    """A clock on a wall; sleeping moves its hands."""

    def __init__(self) -> None:
        self.now = EVENING

    def clock(self) -> Clock:
        """The clock to pass in."""
        return Clock(now=self.read, wall=self.read, sleep=self._sleep, random=lambda: 0.999)

    def read(self) -> float:
        """Seconds since the epoch."""
        return self.now

    def _sleep(self, seconds: float) -> None:
        self.now += max(seconds, 0.001)


@pytest.fixture
def wall() -> WallClock:
    """Ten in the evening."""
    return WallClock()


@pytest.fixture
def sim(flextier_sim: Any) -> Any:
    """A simulator with an open flex lane."""
    return flextier_sim


def client(sim: Simulator, wall: WallClock, **fields: Any) -> FlexOpenAI:
    """A client on that clock, without stalls, which real sockets decide."""
    policy = FlexPolicy(stall_factor=0, **fields)
    return FlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=policy, clock=wall.clock())


def ask(made: FlexOpenAI) -> flextier.CallReport:
    """The report of a call."""
    with track() as calls:
        made.chat.completions.create(model="o3", messages=MESSAGES)
    return calls[0]


def test_flex_is_waited_for_until_the_end(sim: Simulator, wall: WallClock) -> None:
    """Each call has what is left when it begins, whenever that is."""
    sim.weather = Weather(slots=0)
    with client(sim, wall) as made, override(until="23:00", clock=wall.clock()):
        first = ask(made)
        assert first.limits.startswith("deadline 3600 s (until), patience to the deadline, ")
        assert first.lane == "standard"
        assert 3600 - 90 <= first.waited <= 3600 - 30
        wall.now = EVENING + 1800
        assert 1800 - 90 <= ask(made).waited <= 1800 - 30


@pytest.mark.parametrize(("deadline", "seconds"), [(600, 570), ("2d", 3570), (None, 3570)])
def test_the_earlier_of_deadline_and_end(
    deadline: Any, seconds: float, sim: Simulator, wall: WallClock
) -> None:
    """A call's own deadline still counts."""
    sim.weather = Weather(slots=0)
    with client(sim, wall, deadline=deadline) as made, override(until="23:00", clock=wall.clock()):
        assert seconds - 60 <= ask(made).waited <= seconds


def test_nested_blocks(sim: Simulator, wall: WallClock) -> None:
    """The earlier end counts, and ends with its block; other knobs are those of the inner one."""
    clock = wall.clock()
    with override(until="23:00", clock=clock):
        with override(until="06:00", clock=clock):
            assert current_scope().until == EVENING + 3600
        with override(until="22:30", patience=7, clock=clock):
            assert current_scope().until == EVENING + 1800
            with override(patience=8):
                assert current_scope().until == EVENING + 1800
        assert current_scope().until == EVENING + 3600
    assert current_scope().until is None


@pytest.mark.parametrize("lanes", ["flex,standard", "standard", "batch", "batch,flex", "auto"])
def test_nothing_left(lanes: str, sim: Simulator, wall: WallClock) -> None:
    """The error comes before anything is sent, and carries the report."""
    with client(sim, wall, lanes=lanes) as made, override(until="23:00", clock=wall.clock()):
        wall.now = EVENING + 3600
        with pytest.raises(FlexDeadlineExceeded, match="until") as caught:
            made.chat.completions.create(model="o3", messages=MESSAGES)
    assert caught.value.report.attempts == ()  # type: ignore[attr-defined]
    assert sim.requests == []


def test_nothing_left_over_every_caller(caller: Caller, sim: Simulator, wall: WallClock) -> None:
    """Plain and streamed, sync and async, both APIs."""
    with override(until="23:00", clock=wall.clock()):
        wall.now = EVENING + 3601
        outcome = caller(sim.base_url, FlexPolicy(), wall.clock())
    assert isinstance(outcome.error, FlexDeadlineExceeded)
    assert sim.requests == []


def test_it_reaches_every_caller(caller: Caller, sim: Simulator, wall: WallClock) -> None:
    """The rest of the evening is shorter than the reserve: standard only."""
    with override(until="22:00:20", clock=wall.clock()):
        outcome = caller(sim.base_url, FlexPolicy(), wall.clock())
    assert outcome.lanes == ["standard"]


def test_a_thread_with_wrap(sim: Simulator, wall: WallClock) -> None:
    """`wrap` carries the end along; a plain pool does not."""
    with (
        client(sim, wall) as made,
        override(until="22:00:20", clock=wall.clock()),
        ThreadPoolExecutor(1) as pool,
    ):
        lanes = [pool.submit(run, made).result().lane for run in (flextier.wrap(ask), ask)]
    assert lanes == ["standard", "flex"]


def test_tasks(sim: Simulator, wall: WallClock) -> None:
    """Tasks started inside have the end."""

    async def run(call: Callable[[], Any]) -> Any:
        with override(until="23:00", clock=wall.clock()):
            task = asyncio.create_task(asyncio.to_thread(call))
        return await task

    assert asyncio.run(run(lambda: current_scope().until)) == EVENING + 3600


def test_a_batch_lane(sim: Simulator, wall: WallClock) -> None:
    """A night is enough for a batch, half an hour is not."""
    sim.weather = Weather(batch=BatchWeather(seconds=0.01))
    for until, lane in (("06:00", "batch"), ("22:10", "flex")):
        policy = FlexPolicy(lanes=("batch", "flex"), batch_window=0.05, batch_poll_interval=0.05)
        with (
            override(until=until, clock=wall.clock()),
            FlexOpenAI(
                base_url=sim.base_url, api_key=KEY, policy=policy, clock=Clock(wall=wall.read)
            ) as made,
        ):
            assert ask(made).lane == lane


def test_auto_goes_by_what_is_left(sim: Simulator, wall: WallClock) -> None:
    """``lanes="auto"`` plans with it."""
    with client(sim, wall, lanes="auto") as made, override(until="23:00", clock=wall.clock()):
        assert "auto, o3, 1 h to the deadline" in ask(made).why


@pytest.mark.parametrize("until", ["6h", "25:00", 3600, "soon"])
def test_what_is_no_time_of_day(until: Any) -> None:
    """Durations go into `deadline`."""
    with (
        pytest.raises(PolicyError, match=r"override\(until=…\): .* time of day such as 06:00"),
        override(until=until),
    ):
        pytest.fail("the block must not be entered")
