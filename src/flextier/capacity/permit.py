"""One attempt's leave to be sent: asked for, granted, used, given back."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from flextier.capacity.lane_estimator import LaneEstimator

Verdict = Literal["", "served", "refused", "stalled", "gone"]
"""What came of a request: nothing yet, an answer, no capacity, silence, or something that says
nothing of the lane."""


class ProbeSpacing(NamedTuple):
    """How far apart probes are, as the policy of the call that was refused has it."""

    initial: float
    """The least, in seconds."""
    multiplier: float
    """The factor from one to the next."""
    longest: float
    """The most, in seconds."""
    jitter: float
    """A random number in [0, 1)."""

    def seconds(self, probes: int, share: float, silence: float) -> float:
        """Until the next probe, after so many; ``share`` is a part of the time since the first.

        Never more than ``share``: so that an outage is noticed to be over within a part of its own
        length, and the refusals that this takes grow with its logarithm only.
        """
        try:
            backoff = self.initial * self.multiplier**probes
        except OverflowError:
            backoff = self.longest
        seconds = min(backoff, max(self.initial, share), self.longest)
        return max(seconds * (0.75 + 0.25 * self.jitter), silence)


DEFAULT_SPACING = ProbeSpacing(1.0, 2.0, 60.0, 0.5)


class Permit:
    """What a limiter knows of one attempt. Made, granted and ended by its limiter, under its lock.

    A permit that is dropped without having been ended is given back through ``lost``: a stream
    that nobody reads to its end must not count for ever.
    """

    __slots__ = (
        "armed", "begun", "confirmed", "estimator", "granted", "latest", "level", "lost", "next_by",
        "place", "probe", "sent_at", "spacing", "turn", "until", "verdict", "waiting", "wake",
    )  # fmt: skip

    def __init__(
        self,
        estimator: LaneEstimator,
        until: float,
        latest: float,
        turn: int,
        lost: Callable[[Any], None],
        next_by: float = inf,
    ) -> None:
        self.estimator = estimator
        """The lane that it is for."""
        self.until = until
        """When the call leaves the lane, if it has not been let in."""
        self.latest = latest
        """From when on the attempt would not be worth starting."""
        self.next_by = next_by
        """By when the call is to be on another lane; infinity: there is none, or no hurry."""
        self.turn = turn
        """Whose turn it is among those with the same ``until``."""
        self.lost = lost
        self.waiting = False
        """Whether it stands in line."""
        self.place = -1
        """Where in line."""
        self.wake: Callable[[], None] | None = None
        """How whoever waits with it is woken."""
        self.armed = 0.0
        """When whoever waits with it looks again by themselves."""
        self.granted = False
        """Whether the request may be sent, or has been."""
        self.begun = False
        """Whether it has been."""
        self.sent_at = 0.0
        """When: until it has begun, when it was granted."""
        self.level = 0
        """It and the requests that were out already."""
        self.probe = False
        """Whether it was let in to see if the lane takes more than is known."""
        self.confirmed = False
        """Whether it is known to be in: no refusal came while refusals come."""
        self.verdict: Verdict = ""
        self.spacing = DEFAULT_SPACING

    def __del__(self) -> None:
        # The garbage collector may run this while the limiter's lock is held, so it only records
        # the loss. What is collected with it may still end it: a stream that closes its connection.
        if self.granted and not self.verdict:
            self.verdict = "gone"
            self.lost((self.estimator, self.confirmed))
