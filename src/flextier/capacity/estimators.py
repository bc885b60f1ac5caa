"""Estimates of a lane: how soon refusals arrive, and how often it refuses at random."""

from __future__ import annotations

from collections import deque
from math import ceil, inf, log

_UNSEEN = 1.0
_LEAST, _MOST = 0.05, 3.0


class RefusalTime:
    """Estimates the seconds after which a request that is still silent has been admitted.

    The server refuses without computing a response, so refusals are fast: smoothed mean and
    deviation, as TCP measures round trips (RFC 6298). Between 0.05 and 3 s; 1 s at first.
    """

    __slots__ = ("_deviation", "_mean", "silence")

    def __init__(self) -> None:
        self._mean: float | None = None
        self._deviation = 0.0
        self.silence = _UNSEEN

    def add(self, seconds: float) -> None:
        """Record the seconds that a refusal took."""
        if self._mean is None:
            self._mean, self._deviation = seconds, seconds / 2
        else:
            off = seconds - self._mean
            # A much faster refusal is no reason to wait longer.
            apart = abs(off) if off > -self._deviation else 0.0
            self._deviation += 0.25 * (apart - self._deviation)
            # A busy event loop or a new connection makes one seem slow; nothing makes it seem fast.
            self._mean += (0.125 if off > 0 else 0.5) * off
        spread = max(4 * self._deviation, self._mean / 2)  # never 0: the next may take a bit longer
        self.silence = min(max(self._mean + spread, _LEAST), _MOST)


class RandomRefusals:
    """Estimates how often an open lane refuses at random, and whether a run of refusals fits that.

    A lane that is shut refuses every request; one that refuses at random admits the next. So a run
    of refusals that chance would give less than once in a thousand times means shut.
    """

    __slots__ = ("_admitted", "_refused", "level", "run", "uncounted")

    _MEMORY = 0.98
    _UNLIKELY, _DOUBTFUL = log(0.001), log(0.04)

    def __init__(self) -> None:
        # Prior: one in thirty refused, so that three in a row mean a shut lane.
        self._refused, self._admitted = 0.5, 14.5
        self.run = 0
        """Refusals in a row, in the order of sending."""
        self.level = inf
        """The fewest requests in flight at which one of them came."""
        self.uncounted = 0
        """Admissions without a refusal before them that are not in the estimate yet."""

    @property
    def rate(self) -> float:
        """The share of requests that are refused at random."""
        self._count()
        return self._refused / (self._refused + self._admitted)

    def explains(self, run: int, expected: bool) -> bool:
        """Whether ``run`` refusals in a row may be random; ``expected``: the lane was full at such
        a level before, so that few are enough to show that it is again."""
        unlikely, fewest = (self._DOUBTFUL, 1) if expected else (self._UNLIKELY, 3)
        return run < min(max(fewest, ceil(unlikely / log(self.rate))), 12)

    def _count(self) -> None:
        if self.uncounted:
            kept, self.uncounted = self._MEMORY**self.uncounted, 0
            self._refused *= kept
            self._admitted = kept * self._admitted + (1 - kept) / (1 - self._MEMORY)

    def refused(self, level: int) -> None:
        """Record a refusal; ``level`` is the requests in flight, this one included."""
        self.run += 1
        self.level = min(self.level, level)

    def admitted(self, level: int) -> None:
        """Record an admission. At a level at which others were refused, those were random; below
        it, the lane may still be full.
        """
        if level >= self.level or not self.run:
            self.were_random(self.run)
            self.clear_run()

    def were_random(self, run: int) -> None:
        """Count an admission, and the refusals in a row before it, which were random."""
        self._count()
        self._refused = self._MEMORY * self._refused + run
        self._admitted = self._MEMORY * self._admitted + 1

    def clear_run(self) -> None:
        """Drop the run of refusals: it was not random."""
        self.run, self.level = 0, inf


KEPT = 100
"""Responses that count: the last ones."""

ENOUGH = 20
"""Fewer responses than this give no quantile."""

NEIGHBOURS = 10
"""Responses that show how slow a lane was just before a moment."""


class Latencies:
    """Seconds that the last :data:`KEPT` responses took, and their quantiles."""

    __slots__ = ("last", "sorted")

    def __init__(self) -> None:
        self.last: deque[tuple[float, float]] = deque(maxlen=KEPT)
        """When the requests were sent, and the seconds that they took."""
        self.sorted: list[float] | None = None
        """The seconds in order; None: not sorted since the last one was added."""

    def add(self, sent_at: float, seconds: float) -> None:
        """Add a response: when its request was sent, and the seconds that it took."""
        self.last.append((sent_at, seconds))
        self.sorted = None

    def __len__(self) -> int:
        return len(self.last)

    def quantile(self, share: float) -> float | None:
        """Seconds within which ``share`` of the responses came; None: too few responses."""
        if len(self.last) < ENOUGH:
            return None
        if self.sorted is None:
            self.sorted = sorted(seconds for _, seconds in self.last)
        return self.sorted[min(len(self.sorted) - 1, int(share * len(self.sorted)))]

    @property
    def longest(self) -> float | None:
        """The longest of them; None: there is none."""
        return max((seconds for _, seconds in self.last), default=None)

    def since(self, moment: float) -> tuple[int, float]:
        """How many responses came to requests sent since ``moment``, and the longest latency."""
        since = [seconds for sent_at, seconds in self.last if sent_at >= moment]
        return len(since), max(since, default=0.0)

    def longest_before(self, moment: float) -> float:
        """The longest latency of the :data:`NEIGHBOURS` requests sent last before ``moment``."""
        before = sorted(entry for entry in self.last if entry[0] < moment)[-NEIGHBOURS:]
        return max((seconds for _, seconds in before), default=0.0)
