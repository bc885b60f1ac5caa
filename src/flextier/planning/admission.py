"""Admission of one call's attempts: it acquires a permit for each, and reports how each ended."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flextier.capacity import Limiter, Permit, ProbeSpacing
from flextier.lanes import Lane
from flextier.lanes.rate_limits import reported_limits
from flextier.planning.fallback import REFUSED_FOR, FailedAttempt, Ladder
from flextier.policy import FlexPolicy


@dataclass(slots=True, eq=False)
class Admission:
    """Admits the attempts of one call; the limiter behind it is shared by all calls."""

    _limiter: Limiter
    _ladder: Ladder
    _policy: FlexPolicy
    _permit: Permit | None = None
    begun_on: Lane | None = None
    """The lane for which a permit was granted at once, as for an attempt that begins now."""
    _stall_factor: float | None = None
    """The policy's ``stall_factor``, or a multiple of it; None: not asked yet."""

    @property
    def granted(self) -> bool:
        """Whether the next attempt may be sent, or has been."""
        return self._permit is not None and self._permit.granted

    @property
    def is_held(self) -> bool:
        """Whether the call has a permit that has not been given back."""
        return self._permit is not None and not self._permit.verdict

    def try_acquire(self, now: float) -> bool:
        """Acquire a permit for the ladder's lane if one is free; return whether it is granted.

        A call that stays on its lane keeps its place in the order.
        """
        ladder, before = self._ladder, self._permit
        # A batch's calls are sent together: no request of their own to admit.
        if ladder.lane.batched or not ladder.lane.limited:
            self.release(now)
            self._permit = self.begun_on = None
            return True
        until, latest, next_by = ladder.window()
        estimator = self._limiter.lane(ladder.lane.name, ladder.lane.queues)
        turn = before.turn if before is not None and before.estimator is estimator else None
        permit = self._limiter.try_acquire(estimator, now, until, latest, turn, next_by, begin=True)
        self._permit = permit
        self.begun_on = ladder.lane if permit.granted else None
        return permit.granted

    def recheck(self, now: float, wake: Callable[[], None]) -> float:
        """Seconds until the next check, unless woken; 0: stop waiting (see ``granted``)."""
        assert self._permit is not None
        return self._limiter.recheck(self._permit, now, wake)

    def start(self, now: float) -> None:
        """Record that the attempt is sent, on the lane that the ladder is on by now."""
        if not self._ladder.lane.limited:
            return
        if self._permit is None or self._permit.estimator.name != self._ladder.lane.name:
            self.release(now)
            self.try_acquire(now)
        if self._permit is None or not self._permit.begun:
            self._limiter.start(self._permit, now)

    def release(self, now: float) -> None:
        """Give the permit back; nothing was learnt about the lane."""
        if self._permit is not None:
            self._limiter.end(self._permit, "gone", now)

    def served(self, now: float, *, timed: bool = False) -> None:
        """Record a response; ``timed`` if its duration counts as a latency of the lane."""
        self._limiter.end(self._permit, "served", now, timed=timed)

    def headers_received(self, headers: Mapping[str, str], now: float) -> None:
        """Record the rate limits that the headers of a response state."""
        if self._permit is not None and (limits := reported_limits(headers)):
            self._limiter.reported(self._permit, limits, now)

    def failed(self, event: FailedAttempt) -> None:
        """Record a failure, which may say something about the lane's capacity."""
        if self._permit is None:
            return
        if event.kind == "rate_limited":
            permit = self._permit
            self._limiter.limited(
                event.now, event.hint or 0.0, event.refused, permit.number, permit.sent_at
            )
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
        """Seconds until the ladder's lane may admit an attempt, at the soonest."""
        lane = self._ladder.lane
        if lane.batched or not lane.limited:
            return 0.0
        return self._limiter.opens_in(self._limiter.lane(lane.name, lane.queues), now)

    @property
    def may_stall(self) -> bool:
        """Whether :meth:`stalls_in` applies to the current attempt."""
        lane, policy = self._ladder.lane, self._policy
        if self._stall_factor is None:
            self._stall_factor = 0.0 if policy.deadline is None else policy.stall_factor
        return self._stall_factor > 0 and lane.queues and not lane.deferred

    def stalls_in(self, now: float) -> float:
        """Seconds until a silent attempt should be checked again; 0: it has stalled, give it up.

        Infinity: no time is left on the lane for another attempt. The allowed silence doubles each
        time, since the attempt before may have been given up too soon.
        """
        if self._permit is None or self._stall_factor is None or now >= self._ladder.latest:
            return math.inf
        permit = self._permit
        until = self._ladder.patient_until(permit.sent_at)
        seconds = self._limiter.stalls_in(permit, now, self._stall_factor, until)
        if seconds <= 0:
            self._stall_factor *= 2
        return seconds
