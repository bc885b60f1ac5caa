"""A limit per minute as the server reports it: what is left, and how fast it refills.

Pure: no clock, no lock, no I/O. All moments are seconds on the callers' clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal

_MEMORY = 0.9

Unit = Literal["requests", "tokens"]


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A limit of an account for a model, as a response states it. None: not stated."""

    unit: Unit
    remaining: float | None = None
    """What was left of it when the request arrived."""
    limit: float | None = None
    """The most that can be left."""
    refill: float | None = None
    """What is added a second."""
    requested: float | None = None
    """What the refused request would have taken."""


class RateBucket:
    """What is left of a limit, estimated between reports.

    A report states what was left when its request arrived; what later requests have taken since is
    estimated.

    Args:
        cost: what a request takes of the limit; None: learned from the reports, in which other
            processes that use the same limit count as if this one's requests were larger.
    """

    __slots__ = (
        "_at", "_cost_is_known", "_left", "_number", "_refill", "_reported", "cost", "limit",
    )  # fmt: skip

    def __init__(self, cost: float | None = None) -> None:
        self._cost_is_known = cost is not None
        self.cost = cost or 0.0
        """What a request takes of the limit; 0: unknown."""
        self.limit = inf
        """The most that can be left."""
        self._left = inf
        self._at = 0.0
        self._refill = 0.0
        self._number = 0
        self._reported: tuple[float, float] | None = None

    def left(self, now: float) -> float:
        """What is left of the limit now."""
        return min(self.limit, self._left + self._refill * (now - self._at))

    def sent(self, now: float) -> None:
        """Record a request that was sent."""
        self._left = self.left(now) - self.cost
        self._at = now

    def next_chance(self) -> float:
        """The first moment at which enough is left for a request."""
        if self._left >= self.cost:
            return 0.0
        return self._at + (min(self.cost, self.limit) - self._left) / self._refill

    def seconds_for(self, requests: int, now: float) -> float:
        """Seconds until that many requests can have been sent."""
        return max(0.0, (requests * self.cost - self.left(now)) / self._refill)

    @property
    def interval(self) -> float:
        """Seconds from one request to the next in the long run."""
        return self.cost / self._refill

    def report(
        self, stated: RateLimit, number: int, sent_at: float, later: int, now: float
    ) -> None:
        """Correct the estimate by a response; reports of earlier requests are ignored.

        ``number`` is its request's, in the order of sending; ``later`` requests were sent after it.
        """
        assert stated.remaining is not None
        assert stated.refill is not None
        if number < self._number:
            return
        self._learn_cost(stated.remaining, number, sent_at)
        self._number, self._reported = number, (stated.remaining, sent_at)
        self.limit = inf if stated.limit is None else stated.limit
        self._refill = stated.refill
        left = stated.remaining + self._refill * (now - sent_at) - later * self.cost
        self._left = min(self.limit, left)
        self._at = now

    def _learn_cost(self, remaining: float, number: int, sent_at: float) -> None:
        requests = number - self._number
        if self._cost_is_known or self._reported is None or requests <= 0:
            return
        before, then = self._reported
        refilled = self._refill * (sent_at - then)
        # Only while the limit is drawn down: what comes back meanwhile is a guess, which must not
        # be the larger part.
        if refilled <= before - remaining:
            keep = _MEMORY**requests if self.cost else 0.0
            taken = min(self.limit, before + refilled) - remaining
            self.cost = keep * self.cost + (1 - keep) * taken / requests
