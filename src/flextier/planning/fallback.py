"""The decision: after each failed attempt, what next. No I/O, no clock: facts in, a step out.

The table it implements is in docs/failures.md. All times are seconds on the caller's clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from flextier.lanes import Lane
from flextier.lanes.failures import Kind
from flextier.policy import FlexPolicy

Limit = Literal["patience", "deadline", "max_retries", "server", "none"]
"""What ended a call without an answer: a knob of the policy, the server's word, or nothing that
could have helped (a failure that is never tried again)."""

# A refusal with `x-should-retry: false` and no Retry-After: leave the lane alone for a minute.
REFUSED_FOR = 60.0

# What is kept of a deadline for the next lane, once it is known what its answers take.
_NEARLY_ALL, _MARGIN, _OVERHEAD = 0.99, 1.2, 0.25
_TYPICAL = 0.5

# Calling a background response off is a request: so many seconds, or that share of the deadline.
CANCEL_TIME, _SHARE_OF_IT = 5.0, 0.1


@dataclass(frozen=True, slots=True)
class Send:
    """Wait ``wait`` seconds, then send on ``lane``; without streaming if ``plain``.

    After the wait, a lane that is short of capacity may keep the call waiting for its turn, up to
    :attr:`Ladder.until`.
    """

    lane: Lane
    wait: float = 0.0
    plain: bool = False


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Give up: the last error goes to the caller. ``limit`` is what stood in the way."""

    limit: Limit


Step = Send | GiveUp


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """A failed attempt as the ladder sees it.

    Args of note: ``hint`` is what the server asked to wait (None: nothing), ``no_retry`` its
    ``x-should-retry: false``, ``jitter`` a random number in [0, 1).
    """

    kind: Kind
    now: float
    jitter: float = 1.0
    hint: float | None = None
    no_retry: bool = False


class Ladder:
    """One call's way down its lanes. State of one call; not shared.

    Args:
        policy: the knobs.
        lanes: tried left to right, at least one.
        now: when the call began.
        shut: seconds until a lane may be asked again, as this process knows it (0: now,
            infinity: never, for this model).
        took: within how many seconds a share of a lane's last answers came; None: not known.
        plain: whether no attempt may stream, although a stream was asked for.
    """

    __slots__ = (
        "_attempts", "_deadline", "_detour", "_entered", "_faults", "_index", "_kind", "_lanes",
        "_last", "_plain", "_policy", "_shut", "_took", "fallback", "lane",
    )  # fmt: skip

    def __init__(
        self,
        policy: FlexPolicy,
        lanes: Sequence[Lane],
        now: float,
        shut: Callable[[Lane], float] = lambda lane: 0.0,
        took: Callable[[Lane, float], float | None] = lambda lane, share: None,
        plain: bool = False,
    ) -> None:
        self._policy = policy
        self._lanes = tuple(lanes)
        self._shut = shut
        self._took = took
        self._deadline = math.inf if policy.deadline is None else now + policy.deadline
        self._detour: Lane | None = None
        self._enter_lane(0)
        self._entered = now
        self._attempts = 0
        self._faults = 0
        self._plain = plain
        self._kind: Kind = "timeout"
        self.fallback: Kind | None = None
        """Why the call left its first lane, or None while it has not."""

    @property
    def deadline(self) -> float:
        """When the call must have ended; infinity without a deadline."""
        return self._deadline

    @property
    def _leave_by(self) -> float:
        """The last moment on this lane: what the next lane needs is kept for it."""
        if self._deadline == math.inf or self._last:
            return self._deadline
        kept = self._kept
        if self.lane.reserve_field is not None:
            kept = max(kept, self._policy.reserve(self.lane.name))
        return self._deadline - kept

    @property
    def _kept(self) -> float:
        """The part of the deadline that the next lane needs: the first one that answers at once."""
        after = self._lanes[self._index + 1 :]
        took = self._took(next((x for x in after if not x.deferred), after[0]), _NEARLY_ALL)
        return self._policy.standard_reserve if took is None else took * _MARGIN + _OVERHEAD

    @property
    def cancel_at(self) -> float:
        """From when on an answer of an offline lane is not waited for, but called off."""
        if self.lane.window is None or self._policy.deadline is None:
            return self._leave_by
        room = min(CANCEL_TIME, self._policy.deadline * _SHARE_OF_IT)
        return min(self._leave_by, self.attempt_ends_by - room)

    @property
    def attempt_ends_by(self) -> float:
        """When an attempt is over, whatever has become of it."""
        if not self.lane.deferred or self._last or self._deadline == math.inf:
            return self._leave_by
        return self._deadline - self._kept

    @property
    def next_by(self) -> float:
        """By when the call is to be on its next lane; infinity: there is none, or no hurry."""
        return math.inf if self._last or self._deadline == math.inf else self._leave_by

    @property
    def latest(self) -> float:
        """From when on an attempt would probably not be answered before the lane is left."""
        if self._last or self._deadline == math.inf:
            return self._deadline
        return self._leave_by - (self._took(self.lane, _TYPICAL) or 0.0)

    @property
    def until(self) -> float:
        """When the call leaves a lane that has not let it in: no attempt is started later."""
        if not self.lane.patient:
            return self._leave_by
        if self._deadline == math.inf:
            return self._entered + self._policy.patience
        return min(self._entered + self._policy.patience, self.latest)

    def start(self, now: float) -> Send:
        """The first step: the first lane that is open, or opens soon enough."""
        step = self._enter(now)
        return replace(step, plain=True) if self._plain else step

    def attempt_timeout(self, now: float, *, to_the_end: bool = False) -> float:
        """Seconds that an attempt started now may take; not positive when it is too late.

        With ``to_the_end``, up to the deadline itself: for an answer that has begun to arrive.
        """
        until = self._deadline if to_the_end else self.attempt_ends_by
        return min(self._policy.attempt_timeout(self.lane.name), until - now)

    def out_of_time(self, now: float) -> bool:
        """Whether no attempt can be started now, on this lane or on one after it.

        A wait may have lasted longer than it was to: the lane is then left without another try.
        """
        while self.attempt_timeout(now) <= 0:
            if self._last:
                return True
            self.fallback = self.fallback or self._kind
            self._enter_lane(self._index + 1)
            self._begin(now)
        return False

    def failed(self, event: FailedAttempt) -> Step:
        """What to do after a failed attempt."""
        if self._plain and event.kind == "stream_unverified":
            return GiveUp("none")  # it was no stream: the cure does not help, once is enough
        self._plain = self._plain or event.kind == "stream_unverified"
        return self._marked(self._answer(event))

    def _marked(self, step: Step) -> Step:
        """The step, without streaming where the call may not stream."""
        return replace(step, plain=True) if self._plain and isinstance(step, Send) else step

    def _answer(self, event: FailedAttempt) -> Step:
        self._attempts += 1
        self._kind = event.kind
        match event.kind:
            case "rejected" | "quota":
                return GiveUp("none")
            case "lane_unsupported":
                return self._next(event, "none")
            case _ if self.lane is self._detour and not self._last:
                return self._next(event, "max_retries")  # it may be none that was asked for
            case _ if self.lane.batched or event.kind == "unfinished":
                return self._left(event)
            case "stream_unverified":
                return Send(self.lane)
            case "capacity":
                return self._refused(event)
            case "rate_limited":
                return self._next(event, "server") if event.no_retry else self._wait_out(event)
            case "timeout" if self.lane.patient and not event.no_retry:
                return self._wait_out(event)
            case _:
                return self._retry(event)

    def _left(self, event: FailedAttempt) -> Step:
        """After an answer that is not waited for any more: the next lane is sooner than another."""
        if not self._last and not self.lane.patient:
            return self._next(event, "max_retries")
        if event.kind == "unfinished" and event.now >= self.cancel_at:
            return self._next(event, "deadline")
        # As a request that was silent for too long; or, on the last lane, as any fault.
        if self.lane.patient and not event.no_retry:
            return self._wait_out(event)
        return self._retry(event)

    def _refused(self, event: FailedAttempt) -> Step:
        """Line up for this lane again, if patience and the deadline outlast what the server asks.

        How long that takes is not for one call to say: all that wait for the lane share a limiter.
        """
        asked = REFUSED_FOR if event.no_retry and event.hint is None else event.hint or 0.0
        step = self._wait(event, asked)
        return replace(step, wait=0.0) if isinstance(step, Send) else step

    def _wait_out(self, event: FailedAttempt) -> Step:
        """Send on this lane again while patience and the deadline allow."""
        return self._wait(event, self._backoff(event) if event.hint is None else event.hint)

    def _wait(self, event: FailedAttempt, wait: float) -> Step:
        until = event.now + wait
        if until >= self._entered + self._policy.patience:
            return self._next(event, "patience")
        if until >= self._leave_by:
            return self._next(event, "deadline")
        return Send(self.lane, wait)

    def _retry(self, event: FailedAttempt) -> Step:
        """Send on this lane again while ``max_retries`` and the deadline allow."""
        if event.no_retry:
            return self._next(event, "server")
        self._faults += 1
        if self._faults > self._policy.max_retries:
            return self._next(event, "max_retries")
        wait = self._backoff(event) if event.hint is None else event.hint
        if event.hint is not None and event.now + wait >= self._entered + self._policy.patience:
            return self._next(event, "patience")
        if event.now + wait >= self._leave_by:
            return self._next(event, "deadline")
        return Send(self.lane, wait)

    def _backoff(self, event: FailedAttempt) -> float:
        return event.jitter * self._policy.backoff(self._attempts)

    def _next(self, event: FailedAttempt, limit: Limit) -> Step:
        if self._last:
            return GiveUp(limit)
        if event.now >= self._deadline:
            return GiveUp("deadline")
        self._enter_lane(self._index + 1)
        self.fallback = self.fallback or event.kind
        return self._enter(event.now)

    def not_admitted(self, now: float) -> Step:
        """What to do when the lane has not let the call in by ``until``."""
        patient_to = self._entered + self._policy.patience
        limit: Limit = "patience" if patient_to <= self._leave_by else "deadline"
        return self._marked(self._next(FailedAttempt("capacity", now), limit))

    def _enter(self, now: float) -> Send:
        """Begin on the current lane, or on the first one after it that is not known to be shut."""
        while not self._last:
            wait = self._shut(self.lane)
            if self._too_late(now):
                kind: Kind = "unfinished"
            elif wait <= 0 or (wait < self._policy.patience and now + wait < self._leave_by):
                break  # it is open, or worth waiting for at the limiter
            else:
                kind = "lane_unsupported" if wait == math.inf else "capacity"
            self._enter_lane(self._index + 1)
            self.fallback = self.fallback or kind
        return self._begin(now)

    def _too_late(self, now: float) -> bool:
        """Whether an offline lane would be left before anything had been sent there."""
        if not self.lane.deferred:
            return False
        needs = self.lane.min_seconds + self._policy.gather_time(self.lane.name)
        return now + needs >= self.cancel_at

    def _enter_lane(self, index: int) -> None:
        self._index = index
        self.lane = self._lanes[index]
        """The lane the call is on."""
        self._last = index == len(self._lanes) - 1

    def skip_lane(self) -> Lane | None:
        """Leave the lane as if it were not in the ladder: the next one; None: there is none."""
        if self._last:
            return None
        self._enter_lane(self._index + 1)
        return self.lane

    def resume(self) -> None:
        """The first lane is none that was asked for: the call has been sent there before."""
        self._detour = self.lane

    def insert_lane(self, lane: Lane) -> None:
        """Take another lane before the current one, which comes after it."""
        self._lanes = (*self._lanes[: self._index], lane, *self._lanes[self._index :])
        self._detour = lane
        self._enter_lane(self._index)

    def replace_lane(self, lane: Lane, now: float) -> Send:
        """Take another lane in the place of the current one, and begin on it."""
        self._lanes = (*self._lanes[: self._index], lane, *self._lanes[self._index + 1 :])
        self._enter_lane(self._index)
        return self._enter(now)

    def _begin(self, now: float) -> Send:
        self._entered, self._attempts, self._faults = now, 0, 0
        return Send(self.lane)
