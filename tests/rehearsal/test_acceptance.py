"""What flextier is to reach on every trace that comes with it, with several seeds."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from flextier import FlexPolicy
from flextier.rehearsal import Rehearsal, Trace, rehearse
from flextier.rehearsal.trace import names
from flextier.sim import Weather

SEEDS = (1, *(pytest.param(seed, marks=pytest.mark.exhaustive) for seed in (2, 3)))

MOST = {"openings-2s": 1.0}
"""Openings that are shorter than the time between probes are missed: at most standard's cost."""

LONG = ("day", "two-models-day", "sawtooth")
"""Traces that take seconds of CPU."""

every_trace = pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.exhaustive) if n in LONG else n for n in names()],
)
every_seed = pytest.mark.parametrize("seed", SEEDS)


@cache
def rehearsed(name: str, seed: int) -> Rehearsal:
    """A trace with as much patience as its deadline leaves, everything else as it comes."""
    trace = Trace.load(name)
    return rehearse(trace, policy=FlexPolicy(patience=trace.deadline), seed=seed)


@every_seed
@every_trace
@pytest.mark.sampled(3)
def test_no_answer_is_late_or_lost_and_costs_are_near_the_least(name: str, seed: int) -> None:
    """No call fails, and no more are late than unavoidable; the cost is at most 5 % more than with
    full knowledge of when flex has room."""
    result = rehearsed(name, seed)
    assert result.failed == 0, result.errors
    assert result.late <= result.clairvoyant.late, result.latest
    assert result.distance is not None
    assert result.distance <= MOST.get(name, 0.05), (result.cost, result.clairvoyant.cost)


@every_seed
@pytest.mark.parametrize("name", ["outages", "few-slots", "token-bucket"])
def test_few_requests_are_refused(name: str, seed: int) -> None:
    """At most one refusal for two answers, where flex is shut or full, or follows a rate."""
    result = rehearsed(name, seed)
    assert result.refusals_an_answer is not None
    assert result.refusals_an_answer <= 0.5


TIMES: Any = {"flex_latency": 0.8, "standard_latency": 0.8, "refusal_latency": 0.005}


@every_seed
@pytest.mark.parametrize(
    ("weather", "jobs", "deadline"),
    [
        (Weather(steps=((0, 0), (6, 10), (14, 0), (22, 10), (32, 0)), **TIMES), 150, 38),
        (Weather(steps=((0, 0), (10, 20)), rpm=1200, rpm_window=1, **TIMES), 250, 32),
    ],
    ids=["short-outages", "limit-a-second"],
)
def test_short_outages_cost_few_refusals(
    weather: Weather, jobs: int, deadline: float, seed: int
) -> None:
    """Outages of seconds, where refusals come at once and probes may follow each other quickly; and
    a limit of 20 requests in any second, under which most calls failed before."""
    policy = FlexPolicy(patience=deadline, backoff_initial=0.1, backoff_max=6, standard_reserve=4)
    result = rehearse(
        Trace(weather=weather, jobs=jobs, deadline=deadline, seed=seed), policy=policy
    )
    assert (result.failed, result.late, result.lanes) == (0, 0, {"flex": jobs})
    assert result.counts.refusals + result.counts.rate_limited <= jobs / 2


@every_seed
def test_random_refusals_are_met_with_new_tries(seed: int) -> None:
    """Where every second request is refused by chance, all is on flex, with no more tries than
    chance asks for."""
    result = rehearsed("refusals", seed)
    assert result.lanes == {"flex": result.trace.jobs}
    assert result.refusals_an_answer is not None
    assert result.refusals_an_answer <= 1.3


@every_seed
def test_random_refusals_do_not_leave_slots_empty(seed: int) -> None:
    """Ten slots for 200 calls, and every second request refused at random: before, it took twice
    the 60 s that the slots need, as such refusals lowered the limit."""
    weather = Weather(slots=10, refuse=0.5, flex_latency=3, standard_latency=3)
    trace = Trace(weather=weather, jobs=200, deadline=180, seed=seed)
    result = rehearse(trace, policy=FlexPolicy(patience=180))
    assert (result.failed, result.late, result.lanes) == (0, 0, {"flex": 200})
    assert result.virtual_seconds < 90
