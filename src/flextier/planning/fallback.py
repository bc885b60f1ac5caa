"""Decides the next step after each failed attempt. No I/O, no clock: facts in, a step out.

The table it implements is in docs/failures.md. All times are seconds on the caller's clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from flextier.capacity import RateLimit
from flextier.lanes import Lane
from flextier.lanes.failures import Kind
from flextier.policy import FlexPolicy

Limit = Literal["patience", "deadline", "max_retries", "server", "none"]
"""What ended a call without a response: a knob of the policy; the server, with
``x-should-retry: false``; or ``"none"``, a failure that is not retried at all."""

# A refusal with `x-should-retry: false` and no Retry-After: leave the lane alone for a minute.
REFUSED_FOR = 60.0

# What is kept of a deadline for the next lane, once it is known what its answers take.
_NEARLY_ALL, _MARGIN, _OVERHEAD = 0.99, 1.2, 0.25
_TYPICAL = 0.5

# Cancelling a background response is a request: seconds, or that share of a short deadline.
CANCEL_TIME, _SHARE_OF_IT = 5.0, 0.1


class Send(NamedTuple):
    """Wait ``wait`` seconds, then send on ``lane``; without streaming if ``plain``.

    After the wait, a lane that is short of capacity may keep the call queued, up to
    :attr:`Ladder.until`.
    """

    lane: Lane
    wait: float = 0.0
    plain: bool = False


class GiveUp(NamedTuple):
    """Give up: the last error goes to the caller. ``limit`` prevented a further attempt."""

    limit: Limit


Step = Send | GiveUp


_REQUESTS = RateLimit("requests")


class FailedAttempt(NamedTuple):
    """A failed attempt as the ladder sees it.

    ``hint`` is the wait that the server asked for (None: none), ``no_retry`` its
    ``x-should-retry: false``, ``refused`` the limit that a ``rate_limited`` one has hit, ``jitter``
    a random number in [0, 1).
    """

    kind: Kind
    now: float
    jitter: float = 1.0
    hint: float | None = None
    no_retry: bool = False
    refused: RateLimit = _REQUESTS


class Ladder:
    """One call's way down its lanes, at least one, from ``now`` on. State of one call; not shared.

    ``shut`` and ``latency`` are as in :class:`LaneStatus`. With ``plain``, no attempt may stream,
    although a stream was asked for. ``patience`` are the policy's ``patience_seconds``, if known.
    """

    __slots__ = (
        "_attempts", "_entered", "_extra_lane", "_faults", "_index", "_kind",
        "_lanes", "_last", "_latency", "_patience", "_plain", "_policy", "_shut", "deadline",
        "fallback", "lane",
    )  # fmt: skip

    def __init__(
        self,
        policy: FlexPolicy,
        lanes: Sequence[Lane],
        now: float,
        shut: Callable[[Lane], float] = lambda lane: 0.0,
        latency: Callable[[Lane, float], float | None] = lambda lane, share: None,
        plain: bool = False,
        patience: float | None = None,
    ) -> None:
        self._policy = policy
        self._patience = policy.patience_seconds if patience is None else patience
        self._lanes = tuple(lanes)
        self._shut = shut
        self._latency = latency
        self.deadline = math.inf if policy.deadline is None else now + policy.deadline
        """When the call must have ended; infinity without a deadline."""
        self._extra_lane: Lane | None = None
        self._enter_lane(0)
        self._entered = now
        self._attempts = 0
        self._faults = 0
        self._plain = plain
        self._kind: Kind = "timeout"
        self.fallback: Kind | None = None
        """Why the call left its first lane, or None while it has not."""

    @property
    def _leave_by(self) -> float:
        """When the call leaves this lane, so that the next lane has the time that it needs."""
        if self.deadline == math.inf or self._last:
            return self.deadline
        kept = self._kept
        if self.lane.reserve_field is not None:
            kept = max(kept, self._policy.reserve(self.lane.name))
        return self.deadline - kept

    @property
    def _kept(self) -> float:
        """Seconds of the deadline kept for the next lane that is not deferred."""
        after = self._lanes[self._index + 1 :]
        took = self._latency(next((x for x in after if not x.deferred), after[0]), _NEARLY_ALL)
        return self._policy.standard_reserve if took is None else took * _MARGIN + _OVERHEAD

    @property
    def cancel_at(self) -> float:
        """When a pending batch or background request is cancelled."""
        if self.lane.window is None or self._policy.deadline is None:
            return self._leave_by
        room = min(CANCEL_TIME, self._policy.deadline * _SHARE_OF_IT)
        return min(self._leave_by, self.attempt_ends_by - room)

    @property
    def attempt_ends_by(self) -> float:
        """When an attempt on this lane ends, whether or not it was cancelled by then."""
        if not self.lane.deferred or self._last or self.deadline == math.inf:
            return self._leave_by
        return self.deadline - self._kept

    @property
    def latest(self) -> float:
        """After this moment, an attempt would probably get no response before the lane is left."""
        if self._last or self.deadline == math.inf:
            return self.deadline
        return self._leave_by - (self._latency(self.lane, _TYPICAL) or 0.0)

    @property
    def until(self) -> float:
        """When a call that was not admitted leaves the lane; no attempt starts later."""
        if not self.lane.queues:
            return self._leave_by
        return self.patient_until(self._entered)

    def patient_until(self, start: float) -> float:
        """When no further attempt may start on a lane that has been refusing since ``start``."""
        return min(start + self._patience, self.latest)

    def window(self) -> tuple[float, float, float]:
        """``until``, ``latest``, and when the call must be on its next lane: infinity if there is
        none, or no deadline."""
        next_by = math.inf if self._last or self.deadline == math.inf else self._leave_by
        return self.until, self.latest, next_by

    def start(self, now: float, *, is_open: bool = False) -> Send:
        """The first step: send on the first lane that is open, or opens soon enough.

        With ``is_open``, all lanes are known to be open.
        """
        step = self._enter(now, is_open=is_open)
        return step._replace(plain=True) if self._plain else step

    def attempt_timeout(self, now: float, *, to_the_end: bool = False) -> float:
        """Seconds that an attempt started now may take; zero or negative when it is too late.

        With ``to_the_end``, up to the deadline itself: for a response that has begun to arrive.
        """
        until = self.deadline if to_the_end else self.attempt_ends_by
        field = self.lane.timeout_field
        seconds = None if field is None else getattr(self._policy, field)
        return min(self.lane.max_seconds if seconds is None else seconds, until - now)

    def out_of_time(self, now: float) -> bool:
        """Whether no attempt can start now, on this lane or on one after it.

        If a wait lasted longer than planned, the lane is left without a further attempt.
        """
        while self.attempt_timeout(now) <= 0:
            if self._last:
                return True
            self.fallback = self.fallback or self._kind
            self._enter_lane(self._index + 1)
            self._begin(now)
        return False

    def failed(self, event: FailedAttempt) -> Step:
        """The next step after a failed attempt."""
        if self._plain and event.kind == "stream_unverified":
            return GiveUp("none")  # no attempt streamed: repeating it does not help
        self._plain = self._plain or event.kind == "stream_unverified"
        return self._marked(self._after_failure(event))

    def _marked(self, step: Step) -> Step:
        """The step, without streaming where the call may not stream."""
        return step._replace(plain=True) if self._plain and isinstance(step, Send) else step

    def _after_failure(self, event: FailedAttempt) -> Step:
        self._attempts += 1
        self._kind = event.kind
        match event.kind:
            case "rejected" | "quota":
                return GiveUp("none")
            case "lane_unsupported":
                return self._next(event, "none")
            case _ if self.lane is self._extra_lane and not self._last:
                return self._next(event, "max_retries")  # the policy may not name it: one attempt
            case _ if self.lane.batched or event.kind == "unfinished":
                return self._after_unfinished(event)
            case "stream_unverified":
                return Send(self.lane)
            case "capacity":
                return self._refused(event)
            case "rate_limited" if self.lane.limited:
                return self._next(event, "server") if event.no_retry else self._wait_out(event)
            case "timeout" if self.lane.queues and not event.no_retry:
                return self._wait_out(event)
            case _:
                return self._retry(event)

    def _after_unfinished(self, event: FailedAttempt) -> Step:
        """The next step after a response that is no longer waited for."""
        if not self._last and not self.lane.queues:
            return self._next(event, "max_retries")
        if event.kind == "unfinished" and event.now >= self.cancel_at:
            return self._next(event, "deadline")
        # Like a timeout; or, on the last lane, like any transient failure.
        if self.lane.queues and not event.no_retry:
            return self._wait_out(event)
        return self._retry(event)

    def _refused(self, event: FailedAttempt) -> Step:
        """Queue for this lane again if patience and deadline outlast the wait the server asks for.

        The step's wait is 0: the limiter, which all calls share, decides when the call is admitted.
        """
        requested = REFUSED_FOR if event.no_retry and event.hint is None else event.hint or 0.0
        step = self._wait(event, requested)
        return step._replace(wait=0.0) if isinstance(step, Send) else step

    def _wait_out(self, event: FailedAttempt, *, patient: bool = True) -> Step:
        """Send on this lane again while patience and the deadline allow."""
        backoff = event.jitter * self._policy.backoff(self._attempts)
        return self._wait(event, backoff if event.hint is None else event.hint, patient=patient)

    def _wait(self, event: FailedAttempt, wait: float, *, patient: bool = True) -> Step:
        until = event.now + wait
        if patient and until >= self._entered + self._patience:
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
        return self._wait_out(event, patient=event.hint is not None)

    def _next(self, event: FailedAttempt, limit: Limit) -> Step:
        if self._last:
            return GiveUp(limit)
        if event.now >= self.deadline:
            return GiveUp("deadline")
        self._enter_lane(self._index + 1)
        self.fallback = self.fallback or event.kind
        return self._enter(event.now)

    def not_admitted(self, now: float) -> Step:
        """The next step when the lane has not admitted the call by ``until``."""
        patient_to = self._entered + self._patience
        limit: Limit = "patience" if patient_to <= self._leave_by else "deadline"
        return self._marked(self._next(FailedAttempt("capacity", now), limit))

    def _enter(self, now: float, *, is_open: bool = False) -> Send:
        """Begin on the current lane, or on the first lane after it that is not known to be shut."""
        while not self._last:
            wait = 0.0 if is_open else self._shut(self.lane)
            if self._too_late(now):
                kind: Kind = "unfinished"
            elif wait <= 0 or (wait < self._patience and now + wait < self._leave_by):
                break  # it is open, or opens soon enough to queue for it
            else:
                kind = "lane_unsupported" if wait == math.inf else "capacity"
            self._enter_lane(self._index + 1)
            self.fallback = self.fallback or kind
        return self._begin(now)

    def _too_late(self, now: float) -> bool:
        """Whether the lane would be left before anything was sent there."""
        if not self.lane.deferred:
            return now >= self._leave_by
        needs = self.lane.min_seconds + self._policy.gather_time(self.lane.name)
        return now + needs >= self.cancel_at

    def _enter_lane(self, index: int) -> None:
        self._index = index
        self.lane = self._lanes[index]
        """The lane the call is on."""
        self._last = index == len(self._lanes) - 1

    @property
    def following(self) -> str | None:
        """The name of the lane after this one; None: it is the last."""
        return None if self._last else self._lanes[self._index + 1].name

    def skip_lane(self) -> Lane | None:
        """Leave the lane as if it were not in the ladder; return the next one, or None."""
        if self._last:
            return None
        self._enter_lane(self._index + 1)
        return self.lane

    def resume(self) -> None:
        """Begin on the lane where the call was sent before; the policy may not name it."""
        self._extra_lane = self.lane

    def insert_lane(self, lane: Lane) -> None:
        """Insert a lane before the current one and move to it."""
        self._lanes = (*self._lanes[: self._index], lane, *self._lanes[self._index :])
        self._extra_lane = lane
        self._enter_lane(self._index)

    def replace_lane(self, lane: Lane, now: float) -> Send:
        """Replace the current lane by another and begin on it."""
        self._lanes = (*self._lanes[: self._index], lane, *self._lanes[self._index + 1 :])
        self._enter_lane(self._index)
        return self._enter(now)

    def _begin(self, now: float) -> Send:
        self._entered, self._attempts, self._faults = now, 0, 0
        return Send(self.lane)
