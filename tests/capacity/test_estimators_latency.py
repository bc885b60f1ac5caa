"""How long answers took: quantiles of the last ones, once there are enough of them."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flextier.capacity.estimators import ENOUGH, KEPT, Latencies


def after(*seconds: float) -> Latencies:
    """What is known after these answers."""
    durations = Latencies()
    for one in seconds:
        durations.add(0.0, one)
    return durations


def test_nothing_is_concluded_from_a_few() -> None:
    """Nineteen answers say nothing, twenty do."""
    assert (ENOUGH, KEPT) == (20, 100)
    assert after().quantile(0.5) is None
    assert after(*[1.0] * 19).quantile(0.5) is None
    assert after(*[1.0] * 20).quantile(0.5) == 1.0


@pytest.mark.parametrize(
    ("share", "seconds"), [(0.0, 1.0), (0.25, 26.0), (0.5, 51.0), (0.99, 100.0), (1.0, 100.0)]
)
def test_quantiles(share: float, seconds: float) -> None:
    """The time within which that share of the answers came, in whatever order they did."""
    answers = [float(n) for n in range(1, 101)]
    Random(1).shuffle(answers)
    assert after(*answers).quantile(share) == seconds


def test_the_slowest_of_a_few_counts() -> None:
    """Of twenty answers, 99 in 100 are all of them."""
    assert after(*[1.0] * 19, 60.0).quantile(0.99) == 60.0


def test_only_the_last_hundred_count() -> None:
    """Only the last hundred answers count."""
    durations = after(*[60.0] * 100, *[1.0] * 99)
    assert len(durations) == 100
    assert durations.quantile(1.0) == 60.0
    durations.add(0.0, 1.0)
    assert durations.quantile(1.0) == 1.0


def test_a_new_answer_counts_at_once() -> None:
    """A new answer changes the quantile at once."""
    durations = after(*[1.0] * 20)
    assert durations.quantile(1.0) == 1.0
    durations.add(0.0, 9.0)
    assert durations.quantile(1.0) == 9.0


@given(st.lists(st.floats(0, 1e6), min_size=20, max_size=250), st.floats(0, 1))
def test_a_quantile_is_an_answer_and_grows_with_the_share(
    answers: list[float], share: float
) -> None:
    """At least that share of the last answers took no longer."""
    durations, last = after(*answers), answers[-100:]
    found = durations.quantile(share)
    assert found in last
    assert sum(one <= found for one in last) >= share * len(last)
    assert (durations.quantile(0.0), durations.quantile(1.0)) == (min(last), max(last))


def test_the_longest_of_those_sent_since_and_just_before() -> None:
    """Of those sent since a moment, of the ten before it, and of all."""
    durations = Latencies()
    assert durations.longest is None
    assert durations.since(0.0) == (0, 0.0)
    for number in range(40):
        durations.add(float(number), 60.0 if number < 10 else 3.0)
    assert durations.longest == 60.0
    assert durations.since(0.0) == (40, 60.0)
    assert durations.since(10.0) == (30, 3.0)
    assert durations.longest_before(19.5) == 3.0
    assert durations.longest_before(19.0) == 60.0
    assert durations.longest_before(0.0) == 0.0
