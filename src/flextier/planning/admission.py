"""Admission of one call's attempts: it acquires a permit for each, and reports how each ended."""

from __future__ import annotations

import math
from collections.abc import Callable

from flextier.capacity import Limiter, Permit, ProbeSpacing
from flextier.planning.fallback import REFUSED_FOR, FailedAttempt, Ladder
from flextier.policy import FlexPolicy


class Admission:
    """One call's place at the limiter. Not shared; the limiter is."""

    __slots__ = ("_ladder", "_limiter", "_permit", "_policy", "_stall_factor")

    def __init__(self, limiter: Limiter, ladder: Ladder, policy: FlexPolicy) -> None:
        self._limiter = limiter
        self._ladder = ladder
        self._policy = policy
        self._stall_factor = 0.0 if policy.deadline is None else policy.stall_factor
        self._permit: Permit | None = None

    @property
    def granted(self) -> bool:
        """Whether the next attempt may be sent, or has been."""
        return self._permit is not None and self._permit.granted

    @property
    def is_held(self) -> bool:
        """Whether the limiter has yet to hear what came of it."""
        return self._permit is not None and not self._permit.verdict

    def try_acquire(self, now: float) -> bool:
        """Ask for leave to send on the ladder's lane; on the same lane, the call keeps its turn."""
        ladder, before = self._ladder, self._permit
        if ladder.lane.batched:  # where many calls are one request, and nobody stands in line
            self.release(now)
            self._permit = None
            return True
        estimator = self._limiter.lane(ladder.lane.name, ladder.lane.patient)
        turn = before.turn if before is not None and before.estimator is estimator else None
        self._permit = self._limiter.try_acquire(
            estimator, now, ladder.until, ladder.latest, turn, ladder.next_by
        )
        return self._permit.granted

    def recheck(self, now: float, wake: Callable[[], None]) -> float:
        """Seconds to wait, or until woken, before looking again; 0: no more (see ``granted``)."""
        assert self._permit is not None
        return self._limiter.recheck(self._permit, now, wake)

    def start(self, now: float) -> None:
        """The attempt goes out, on whatever lane the call has come to meanwhile."""
        if self._permit is None or self._permit.estimator.name != self._ladder.lane.name:
            self.release(now)
            self.try_acquire(now)
        self._limiter.start(self._permit, now)

    def release(self, now: float) -> None:
        """There is nothing more to wait for, or the attempt told nothing of its lane."""
        if self._permit is not None:
            self._limiter.end(self._permit, "gone", now)

    def served(self, now: float, *, timed: bool = False) -> None:
        """The attempt was answered; ``timed`` if it took what answers of its lane take."""
        self._limiter.end(self._permit, "served", now, timed=timed)

    def failed(self, event: FailedAttempt) -> None:
        """The attempt failed, in a way that may tell of the lane."""
        if self._permit is None:
            return
        if event.kind == "rate_limited":
            self._limiter.limited(event.now, event.hint or 0.0)
        if event.kind != "capacity":
            stalled = event.kind == "timeout"
            self._limiter.end(self._permit, "stalled" if stalled else "gone", event.now)
            return
        if event.hint is not None or event.no_retry:
            wait = REFUSED_FOR if event.hint is None else event.hint
            self._limiter.shut(self._permit.estimator, event.now + wait, event.now)
        policy = self._policy
        spacing = ProbeSpacing(
            policy.backoff_initial, policy.backoff_multiplier, policy.backoff_max, event.jitter
        )
        self._limiter.end(self._permit, "refused", event.now, spacing)

    def opens_in(self, now: float) -> float:
        """Seconds until an attempt may be let in on the ladder's lane, at the soonest."""
        lane = self._ladder.lane
        if lane.batched:
            return 0.0
        return self._limiter.opens_in(self._limiter.lane(lane.name, lane.patient), now)

    @property
    def may_stall(self) -> bool:
        """Whether the attempt begun is to be watched by :meth:`stalls_in`."""
        lane = self._ladder.lane
        return self._stall_factor > 0 and lane.patient and not lane.deferred

    def stalls_in(self, now: float) -> float:
        """Seconds until a silent attempt should be looked at again; 0: it is to be given up.

        Infinity: there is no time left on the lane for another. Each time, twice the silence is
        borne, as the one before may have been cut off in vain.
        """
        if self._permit is None or now >= self._ladder.latest:
            return math.inf
        seconds = self._limiter.stalls_in(self._permit, now, self._stall_factor)
        if seconds <= 0:
            self._stall_factor *= 2
        return seconds
