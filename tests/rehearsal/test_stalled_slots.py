"""Slots that silent requests hold, and slow answers that are no stalls: in virtual time."""

from __future__ import annotations

import pytest

from flextier.rehearsal import Trace, rehearse
from flextier.sim import Weather

SEEDS = (1, 5, *(pytest.param(seed, marks=pytest.mark.exhaustive) for seed in range(6, 12)))
"""With the fifth, the first five requests stall."""

every_seed = pytest.mark.parametrize("seed", SEEDS)


@every_seed
@pytest.mark.parametrize("slots", [5, 30])
@pytest.mark.parametrize("deadline", [180, 600])
def test_stalled_requests_do_not_lock_the_lane(slots: int, deadline: float, seed: int) -> None:
    """All calls are answered on flex, if it answered one of the first."""
    weather = Weather(
        slots=slots, stall_windows=((0, 30, 0.5),), flex_latency=3, standard_latency=3
    )
    result = rehearse(Trace(weather=weather, jobs=60, deadline=deadline), seed=seed)
    assert (result.late, result.failed) == (0, 0)
    if "flex" in result.lanes:
        assert result.cost == 0.5
    else:  # the first five requests have stalled: nothing shows what answers take
        assert result.counts.abandoned == slots


@every_seed
def test_a_lane_that_always_stalls_some_is_used_to_the_end(seed: int) -> None:
    """Also where the last calls stall, and nothing is sent after them."""
    weather = Weather(slots=5, stall=0.2, flex_latency=3, standard_latency=3)
    result = rehearse(Trace(weather=weather, jobs=100, deadline=600), seed=seed)
    assert (result.late, result.failed) == (0, 0)
    assert result.cost is not None
    assert result.cost <= 0.52


@pytest.mark.parametrize("slots", [1, 5])
@pytest.mark.parametrize("factor", [8, 20])
def test_slow_answers_are_not_given_up(slots: int, factor: float) -> None:
    """A lane that is full and slow for two minutes is not taken for one that stalls."""
    weather = Weather(
        slots=slots, slow_windows=((10, 130, factor),), flex_latency=3, standard_latency=3
    )
    result = rehearse(Trace(weather=weather, jobs=20 * slots, deadline=600))
    assert result.counts.abandoned == 0
    assert result.cost == 0.5


def test_answers_sent_while_the_lane_was_slow_are_not_given_up_when_it_is_fast_again() -> None:
    """The shipped trace: three of them were."""
    assert rehearse("slow-down").counts.abandoned == 0


def test_answers_of_all_lengths_are_not_given_up() -> None:
    """Short ones are no reason to give up long ones."""
    weather = Weather(slots=5, flex_latency=(2, 60), standard_latency=3)
    assert rehearse(Trace(weather=weather, jobs=60, deadline=600)).counts.abandoned == 0
