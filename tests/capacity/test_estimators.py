"""The two guesses: how fast refusals come, and whether refusals are chance."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flextier.capacity.estimators import RandomRefusals, RefusalTime

# --- how fast refusals come -------------------------------------------------------------------


def silence(*seconds: float) -> float:
    """The silence that means admitted, after refusals that took so long."""
    time = RefusalTime()
    for one in seconds:
        time.add(one)
    return time.silence


def test_before_the_first_refusal_a_second_is_given() -> None:
    """Nothing is known yet, and nothing is in a hurry."""
    assert silence() == 1.0


def test_the_first_refusal_counts_threefold() -> None:
    """As TCP begins: the first one is the mean, half of it the deviation, four of those on top."""
    assert silence(0.2) == pytest.approx(0.2 + 4 * 0.1)


def test_later_ones_are_smoothed() -> None:
    """An eighth of the new time, a quarter of the new deviation (RFC 6298)."""
    deviation = 0.75 * 0.1 + 0.25 * 0.2
    assert silence(0.2, 0.4) == pytest.approx(0.225 + 4 * deviation)


def test_steady_refusals_are_waited_for_half_as_long_again() -> None:
    """Where all take the same, the deviation goes away; but the next may be a bit later."""
    assert silence(*[0.4] * 50) == pytest.approx(0.6, rel=0.01)


def test_refusals_that_become_faster_are_not_waited_for_longer() -> None:
    """What comes sooner than expected is no deviation to be afraid of."""
    slow = [0.37] * 10
    waits = [silence(*slow, *[0.005] * more) for more in range(40)]
    assert max(waits) <= silence(*slow) * 1.2
    assert waits[-1] < 0.1


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=50))
def test_the_guess_is_bounded(seconds: list[float]) -> None:
    """Whatever a busy machine measures: between 0.05 and 3 s."""
    assert 0.05 <= silence(*seconds) <= 3.0


def test_the_bounds_are_reached() -> None:
    """Refusals in a millisecond, or in ten seconds."""
    assert silence(0.001) == 0.05
    assert silence(10.0) == 3.0


def test_an_outlier_is_forgotten() -> None:
    """One refusal that took long does not slow everything down for good."""
    assert silence(*[0.05] * 20, 2.0) > 1.0
    assert silence(*[0.05] * 20, 2.0, *[0.05] * 60) < 0.1


# --- chance -----------------------------------------------------------------------------------


def fed(pattern: str, level: int = 5) -> RandomRefusals:
    """What is thought after refusals (``r``) and admissions (``a``), all at one level."""
    chance = RandomRefusals()
    for what in pattern:
        (chance.refused if what == "r" else chance.admitted)(level)
    return chance


@pytest.mark.parametrize(("refusals", "explained"), [(0, True), (1, True), (2, True), (3, False)])
def test_three_in_a_row_are_no_chance_at_first(refusals: int, explained: bool) -> None:
    """A lane that is not known yet is thought to refuse one in thirty."""
    chance = fed("r" * refusals)
    assert chance.rate == pytest.approx(1 / 30)
    assert chance.explains(chance.run, expected=False) is explained


def test_an_admission_ends_a_run() -> None:
    """What lets one in at the same level is not shut."""
    chance = fed("rra")
    assert chance.run == 0
    assert _longest(chance, expected=False) > 3


@pytest.mark.parametrize(("rate", "most"), [(0.01, 3), (1 / 3, 8), (0.5, 12), (0.75, 12)])
def test_the_run_that_chance_explains_grows_with_its_rate(rate: float, most: int) -> None:
    """As many as come by chance once in a thousand times, at least 3, at most 12."""
    random, chance = Random(2), RandomRefusals()
    for _ in range(3_000):
        chance.refused(5) if random.random() < rate else chance.admitted(5)
    chance.clear_run()
    assert chance.rate == pytest.approx(rate, abs=0.12)
    longest = _longest(chance, expected=False)
    assert abs(longest - most) <= 2
    assert 3 <= longest <= 12


@pytest.mark.parametrize(("admitted", "refused", "most"), [(0, 0, 1), (20, 20, 5), (40, 10, 3)])
def test_few_refusals_show_a_lane_full_again(admitted: int, refused: int, most: int) -> None:
    """Where it was full before, one is enough if few are random; else as many as chance would give
    once in 25 times."""
    chance = RandomRefusals()
    for _ in range(5):
        chance.were_random(refused // 5)
        for _ in range(admitted // 5 - 1):
            chance.were_random(0)
    chance.clear_run()
    assert abs(_longest(chance, expected=True) - most) <= 1


def _longest(chance: RandomRefusals, *, expected: bool) -> int:
    return next(n for n in range(1, 50) if not chance.explains(n, expected))


def test_an_admission_below_the_level_says_nothing() -> None:
    """Refusals of a full lane depend on its room: they do not count as random."""
    chance = fed("rr", level=5)
    before = chance.rate
    chance.admitted(4)
    assert (chance.run, chance.rate) == (2, before)
    chance.refused(5)
    assert not chance.explains(chance.run, expected=False)


@pytest.mark.parametrize("level", [5, 6, 100])
def test_an_admission_at_the_level_or_above_is_chance(level: int) -> None:
    """There was room for it where others were refused: they are counted as chance."""
    chance = fed("rr", level=5)
    before = chance.rate
    chance.admitted(level)
    assert chance.run == 0
    assert chance.rate > before


def test_the_lowest_level_of_a_run_counts() -> None:
    """The one that was refused with the fewest out says the most."""
    chance = RandomRefusals()
    for level in (9, 4, 7):
        chance.refused(level)
    assert chance.level == 4
    chance.admitted(3)
    assert chance.run == 3
    chance.admitted(4)
    assert chance.run == 0


def test_a_run_that_is_forgotten_was_no_chance() -> None:
    """An outage does not make the lane one that refuses at random."""
    chance = fed("r" * 12)
    before = chance.rate
    chance.clear_run()
    assert (chance.run, chance.rate) == (0, before)
    chance.admitted(1)
    assert chance.rate < before


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 50)), max_size=300))
def test_a_rate_is_a_rate(events: list[tuple[bool, int]]) -> None:
    """Whatever comes: above 0, below 1, and at least one refusal is always explained."""
    chance = RandomRefusals()
    for refused, level in events:
        (chance.refused if refused else chance.admitted)(level)
        assert 0 < chance.rate < 1
    chance.clear_run()
    chance.refused(1)
    assert chance.explains(chance.run, expected=False)
