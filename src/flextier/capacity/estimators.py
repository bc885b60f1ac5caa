"""Estimates of a lane: how soon refusals arrive, and how often it refuses at random."""

from __future__ import annotations

from math import ceil, inf, log

_UNSEEN = 1.0
_LEAST, _MOST = 0.05, 3.0


class RefusalTime:
    """Seconds after which a request that is still silent has been let in.

    A refusal takes no thinking, so it comes fast: smoothed mean and deviation as TCP measures its
    round trips (RFC 6298). Between 0.05 and 3 s; 1 s before the first refusal.
    """

    __slots__ = ("_deviation", "_mean", "silence")

    def __init__(self) -> None:
        self._mean: float | None = None
        self._deviation = 0.0
        self.silence = _UNSEEN

    def add(self, seconds: float) -> None:
        """A refusal took so long."""
        if self._mean is None:
            self._mean, self._deviation = seconds, seconds / 2
        else:
            off = seconds - self._mean
            # One that comes much sooner is no reason to wait longer: less weight, as Linux does.
            weight = 0.25 if off > -self._deviation else 0.03125
            self._deviation += weight * (abs(off) - self._deviation)
            self._mean += 0.125 * (seconds - self._mean)
        spread = max(4 * self._deviation, self._mean / 2)  # never none: the next may be a bit later
        self.silence = min(max(self._mean + spread, _LEAST), _MOST)


class RandomRefusals:
    """How often the lane refuses a single request while it takes others, and what that explains.

    A lane that is shut refuses every request, one that refuses at random lets the next one in. So
    refusals in a row tell them apart: as many as chance would give once in a thousand times.
    """

    __slots__ = ("_let_in", "_refused", "level", "run")

    _MEMORY = 0.98
    _UNLIKELY = log(0.001)

    def __init__(self) -> None:
        # As if one in ten had been refused: three in a row are then taken for a shut lane.
        self._refused, self._let_in = 1.0, 9.0
        self.run = 0
        """Refusals in a row, in the order of sending."""
        self.level = inf
        """The lowest level at which one of them came."""

    @property
    def rate(self) -> float:
        """The share of requests that are refused by chance."""
        return self._refused / (self._refused + self._let_in)

    @property
    def explains_run(self) -> bool:
        """Whether the refusals in a row may still be chance."""
        return self.run < min(max(2, ceil(self._UNLIKELY / log(self.rate))), 12)

    def refused(self, level: int) -> None:
        """One more in a row; ``level`` counts it and the requests that were out already."""
        self.run += 1
        self.level = min(self.level, level)

    def let_in(self, level: int) -> None:
        """One was let in. At a level where others were refused, that was chance; below it, the
        lane may be full all the same.
        """
        if level >= self.level or not self.run:
            self._refused = self._MEMORY * self._refused + self.run
            self._let_in = self._MEMORY * self._let_in + 1
            self.clear_run()

    def clear_run(self) -> None:
        """The refusals in a row were no chance."""
        self.run, self.level = 0, inf
