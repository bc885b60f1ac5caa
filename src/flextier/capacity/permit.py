"""The permit to send one attempt: requested, granted, used, given back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from flextier._utils.backoff import exponential_backoff

if TYPE_CHECKING:
    from flextier.capacity.lane_estimator import LaneEstimator

Verdict = Literal["", "served", "refused", "stalled", "gone"]
"""How a request ended: not yet, a response, no capacity, a stall, or in a way that says nothing
about the lane."""


class ProbeSpacing(NamedTuple):
    """The interval between probes, from the policy of the refused call."""

    initial: float
    """The first interval, in seconds."""
    multiplier: float
    """The factor from one interval to the next."""
    longest: float
    """The longest interval, in seconds."""
    jitter: float
    """A random number in [0, 1)."""

    def seconds(self, probes: int, share: float, silence: float, first: int = 1) -> float:
        """Seconds until the next probe, after ``probes``; ``share`` is a part of the time since the
        lane was held, ``first`` the initial intervals that it may be, however short the share.

        At most ``share``, so that the end of an outage is noticed within that part of its length,
        and the number of refused probes grows with the logarithm of its length.
        """
        backoff = exponential_backoff(
            probes + 1, initial=self.initial, multiplier=self.multiplier, longest=self.longest
        )
        seconds = min(backoff, max(first * self.initial, share))
        return max(seconds * (0.75 + 0.25 * self.jitter), silence)


DEFAULT_SPACING = ProbeSpacing(1.0, 2.0, 60.0, 0.5)


@dataclass(slots=True, eq=False)
class Permit:
    """The state of one attempt at its limiter, which makes, grants and ends it under its lock."""

    estimator: LaneEstimator
    """The lane that it is for."""
    until: float
    """When the call leaves the lane, if it was not admitted."""
    latest: float
    """After this moment, the attempt is not worth starting."""
    turn: int
    """Orders permits with the same ``until``: the lowest goes first."""
    lost: Callable[[Any], None]
    """Called with the lane, and :attr:`confirmed`, if it is dropped without an end."""
    next_by: float = inf
    """When the call must be on another lane; infinity: there is none, or no deadline."""
    waiting: bool = False
    """Whether it is in the queue."""
    place: int = -1
    """Its key in the queue."""
    wake: Callable[[], None] | None = None
    """Wakes the caller that waits."""
    armed: float = 0.0
    """When the caller checks again without being woken."""
    granted: bool = False
    """Whether the request may be sent, or has been."""
    begun: bool = False
    """Whether the request was sent."""
    sent_at: float = 0.0
    """When it was sent; until then, when it was granted."""
    number: int = 0
    """Its number among the model's requests, in the order of sending."""
    level: int = 0
    """Requests in flight when it was granted, itself included."""
    probe: bool = False
    """Whether it probes if the lane accepts more than the known limit."""
    confirmed: bool = False
    """Whether it is known to be admitted: no refusal came in the time that refusals take."""
    verdict: Verdict = ""
    spacing: ProbeSpacing = DEFAULT_SPACING
