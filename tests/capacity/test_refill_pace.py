"""The interval between requests on a lane that admits them at a rate."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from flextier.capacity.refill_pace import RefillPace

Admits = Callable[[float, Random], bool]


class _Bucket:
    """A lane that admits ``rate`` requests a second, and ``burst`` at once."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst, self._left, self._at = rate, burst, burst, 0.0

    def __call__(self, now: float, chance: Random) -> bool:
        self._left = min(self._burst, self._left + self._rate * (now - self._at))
        self._at = now
        admitted = self._left >= 1
        self._left -= admitted
        return admitted


def _drive(admits: Admits, seconds: float, seed: int) -> tuple[RefillPace, int, int]:
    """Requests one after the other, a fifth of a second apart, or as the pace says; what was
    admitted and refused in the second half of the time."""
    pace, chance, now = RefillPace(), Random(seed), 0.0
    admitted = refused = 0
    while now < seconds:
        if admits(now, chance):
            pace.admitted(now)
            admitted += now > seconds / 2
        else:
            pace.refused(now)
            refused += now > seconds / 2
        now += max(0.2, pace.interval)
    return pace, admitted, refused


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rate", [0.2, 1.0, 2.0])
def test_the_rate_of_a_lane_is_learnt(rate: float, seed: int) -> None:
    """Nearly all that it admits is used, with few refusals."""
    pace, admitted, refused = _drive(_Bucket(rate, 5), 200 / rate, seed)
    assert pace.interval > 0
    assert admitted >= 0.85 * rate * 100 / rate
    assert refused <= 0.5 * admitted


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_random_refusals_are_no_rate(share: float, seed: int) -> None:
    """Waiting would not help: at most a quarter of what is possible is lost."""
    _, admitted, _ = _drive(lambda now, chance: chance.random() >= share, 200, seed)
    assert admitted >= 0.75 * 500 * (1 - share)


def test_an_outage_ends_the_pace() -> None:
    """What a lane refilled before it was shut says nothing of the time after."""
    bucket = _Bucket(1, 5)
    pace, _, _ = _drive(bucket, 100, 1)
    assert pace.interval > 0
    pace.admitted(200.0)
    assert pace.interval == 0


def test_a_lane_that_is_not_known_has_no_pace() -> None:
    """Nor does one that refuses everything."""
    pace = RefillPace()
    for second in range(100):
        pace.refused(float(second))
    assert pace.interval == 0
