"""The clairvoyant, counted by hand: slots by time by latency."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flextier.rehearsal import Trace
from flextier.rehearsal.oracle import Clairvoyant, clairvoyant
from flextier.sim import Weather


def best(jobs: int, deadline: float, *, arrivals: float = 0, **weather: Any) -> Clairvoyant:
    """What can be had with flex answers of 3 s, and standard ones of 3 s."""
    latencies = {"flex_latency": 3, "standard_latency": 3, **weather}
    return clairvoyant(
        Trace(jobs=jobs, deadline=deadline, arrivals=arrivals, weather=Weather(**latencies))
    )


@pytest.mark.parametrize(
    ("found", "flex", "late"),
    [
        # 10 slots x 30 s / 3 s; what is begun before the end is finished after it.
        (best(200, 180, steps=((0, 0), (30, 10), (60, 0))), 100, 0),
        (best(200, 180, steps=((0, 0), (30, 10), (61, 0))), 110, 0),
        (best(200, 180, steps=((0, 0), (30, 10), (60, 0), (105, 10), (150, 0))), 200, 0),
        (best(300, 180, steps=((0, 0), (30, 10), (60, 0), (105, 10), (150, 0))), 250, 0),
        # An outage is the same as no slots.
        (best(200, 180, slots=10, outages=((0, 30), (60, 1000))), 100, 0),
        # Answers by 10 s: 3 rounds on 5 slots.
        (best(200, 10, slots=5), 15, 0),
        (best(200, 9, slots=5), 15, 0),
        # 1 job a second, 3 s an answer: 2 of 3 slots' worth, whenever it comes.
        (best(60, 3, arrivals=60, slots=2), 40, 0),
        (best(60, 3, arrivals=60, slots=3), 60, 0),
        # No slots, no time.
        (best(7, 100, slots=0, standard_latency=100), 0, 0),
        (best(7, 99, slots=0, standard_latency=100), 0, 7),
        # Chance does not bind him.
        (best(50, 180, refuse=1.0), 50, 0),
        (best(50, 180, stall=1.0), 50, 0),
        # 60 a minute: at 0, and at 60 s; the rest has room at 120 s.
        (best(150, 100, rpm=60), 120, 30),
        (best(150, 180, rpm=60), 150, 0),
        (best(150, 33, rpm=300, rpm_window=1), 150, 0),
        (best(150, 31, rpm=300, rpm_window=1), 145, 5),
        # Standard goes by the same limit.
        (best(100, 100, rpm=60, slots=0), 0, 0),
        (best(130, 100, rpm=60, slots=0), 0, 10),
        # While answers take 30 s, one round on 10 slots; then 10 rounds until 60 s.
        (best(200, 60, slots=10, slow_windows=((0, 29, 10),)), 110, 0),
        # The middle of a range.
        (best(200, 10, slots=5, flex_latency=(2, 8)), 10, 0),
        # 10 at once, and 2 more each second until the answers would be late.
        (best(200, 33, bucket=(2, 10)), 70, 0),
        (best(200, 33.4, bucket=(2, 10)), 70, 0),
        (best(200, 33.5, bucket=(2, 10)), 71, 0),
        (best(200, 33, bucket=(2, 10), slots=5), 55, 0),
        # Not sold on flex.
        (best(20, 180, unsupported_models=("o4*",)), 0, 0),
    ],
    ids=str,
)
def test_by_hand(found: Clairvoyant, flex: int, late: int) -> None:
    """The expected number of calls on flex, the rest on standard, and the expected number late."""
    assert (found.flex, found.late) == (flex, late)


def test_cost_is_half_for_flex() -> None:
    """1 with all jobs on standard, a half with all on flex."""
    assert Clairvoyant(flex=0, standard=4, late=0).cost == 1
    assert Clairvoyant(flex=4, standard=0, late=0).cost == 0.5
    assert Clairvoyant(flex=1, standard=1, late=0).cost == 0.75


def test_models_with_weather_of_their_own_do_not_share_slots() -> None:
    """o3 has 1 slot for 10 s, 3 answers; the other model has no limit."""
    own = Weather(slots=1, flex_latency=3)
    weather = Weather(flex_latency=3, models=(("o3", own),))
    trace = Trace(jobs=20, deadline=10, models=("o3", "o4-mini"), weather=weather)
    assert clairvoyant(trace).flex == 3 + 10


def test_models_without_share_slots_and_not_rate_limits() -> None:
    """2 models in the same 5 slots; each may send 4 a minute."""
    weather = Weather(flex_latency=3, slots=5, rpm=4)
    trace = Trace(jobs=20, deadline=50, models=("o3", "o4-mini"), weather=weather)
    assert clairvoyant(trace).flex == 8


steps = st.dictionaries(st.integers(0, 60), st.integers(0, 4), max_size=5).map(
    lambda table: tuple(sorted(table.items()))
)


@given(
    steps=steps, jobs=st.integers(1, 12), deadline=st.integers(4, 60), arrivals=st.integers(0, 60)
)
def test_no_plan_begins_more(
    steps: tuple[tuple[int, int], ...], jobs: int, deadline: int, arrivals: int
) -> None:
    """Where answers take equally long: as many on flex as the best of all plans, searched for."""
    trace = Trace(
        jobs=jobs,
        deadline=deadline,
        arrivals=arrivals - arrivals % jobs,  # so that jobs arrive at whole seconds
        weather=Weather(slots=1, steps=steps, flex_latency=4, standard_latency=1),
    )
    assert clairvoyant(trace).flex == _searched(trace)


def _searched(trace: Trace) -> int:
    """The most jobs on flex of any plan that begins them at whole seconds, in order of arrival."""
    work = trace.work
    # Plans that may still turn out best: (jobs decided on, ends of the answers in flight) -> begun.
    plans: dict[tuple[int, tuple[int, ...]], int] = {(0, ()): 0}
    for now in range(int(work[-1].deadline)):
        slots = trace.weather.slots_at(now) or 0
        seen: dict[tuple[int, tuple[int, ...]], int] = {}
        todo = [((job, tuple(e for e in ends if e > now)), n) for (job, ends), n in plans.items()]
        while todo:
            (job, ends), begun = todo.pop()
            if seen.get((job, ends), -1) >= begun:
                continue
            seen[job, ends] = begun
            if job == len(work) or work[job].arrives > now:
                continue
            todo.append(((job + 1, ends), begun))
            if len(ends) < slots and now + 4 <= work[job].deadline:
                todo.append(((job + 1, (*ends, now + 4)), begun + 1))
        plans = seen
    return max(plans.values())
