"""The limiter: admits the requests of all calls of this process for one model of one account.

Threads and event loops share a limiter, so everything is done under one lock, which is never held
during a wait. There is no timer: the most urgent waiting call of each lane checks again when time
alone may have opened the lane, and every event admits the calls that it makes room for.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from typing import TypeVar

from flextier.capacity.lane_estimator import LaneEstimator
from flextier.capacity.pacing import Pacing
from flextier.capacity.permit import DEFAULT_SPACING, Permit, ProbeSpacing, Verdict
from flextier.capacity.queue_state import QueueState, queue_state
from flextier.capacity.rate_bucket import RateLimit
from flextier.capacity.wait_queue import WaitQueue

_RECHECK_AFTER = 5.0
_RECHECKS_A_SECOND = 20
"""Every waiting call checks again now and then, in case the most urgent one cannot (its event loop
is blocked): after 5 s, and at most this many checks a second in all."""

_TICK = 0.001

_MOST_UNRECORDED = 1000

_REQUESTS = RateLimit("requests")

_Woken = tuple[Permit, Callable[[], None]]
_T = TypeVar("_T")


class HeldPermit(Permit):
    """A permit that is given back through ``lost`` when it is dropped without an end.

    A stream that is not read to its end must not hold a slot until the process ends.
    """

    __slots__ = ()

    def __del__(self) -> None:
        # The garbage collector may run this while the limiter's lock is held, so it only records
        # the loss. What is collected with it may still end it: a stream that closes its connection.
        if self.granted and not self.verdict:
            self.verdict = "gone"
            self.lost((self.estimator, self.confirmed))


class Limiter:
    """The lanes of one model, the rate limits that they share, and the calls that wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lanes: dict[str, tuple[LaneEstimator, WaitQueue]] = {}
        self._waiting = 0
        self._ended: deque[tuple[Permit, Verdict, float, ProbeSpacing, bool]] = deque()
        self._lost: deque[tuple[LaneEstimator, bool]] = deque()
        self._turns = count()
        self.pace = Pacing()
        self.shut_until = 0.0
        """After this moment, no lane is shut by a server's Retry-After."""
        self.last_used = 0.0
        """When a permit was last requested."""

    @property
    def is_busy(self) -> bool:
        """Whether calls wait, or requests are in flight."""
        return self._waiting > 0 or any(lane.in_flight for lane, _ in list(self._lanes.values()))

    def lane(self, name: str, scarce: bool) -> LaneEstimator:
        """The estimator of a lane; made at first use."""
        entry = self._lanes.get(name)
        if entry is None:
            with self._lock:
                entry = self._lanes.setdefault(name, (LaneEstimator(name, scarce), WaitQueue()))
            self._record_ended_now()
        return entry[0]

    def lanes(self, show: Callable[[LaneEstimator, int], _T]) -> list[_T]:
        """``show(estimator, waiting)`` of every lane that was used."""
        self._record_ended_now()
        with self._lock:
            self._drop_lost()
            shown = [show(estimator, len(queue)) for estimator, queue in self._lanes.values()]
        self._record_ended_now()
        return shown

    def shut_for(self, name: str, now: float) -> float:
        """Seconds until the server's Retry-After allows requests on a lane."""
        entry = self._lanes.get(name)
        return 0.0 if entry is None else max(0.0, entry[0].shut_until - now)

    def latency(self, name: str, share: float) -> float | None:
        """Seconds within which a share of a lane's last responses came; None: unknown."""
        if (entry := self._lanes.get(name)) is None:
            return None
        with self._lock:
            seconds = entry[0].durations.quantile(share)
        self._record_ended_now()
        return seconds

    def opens_in(self, estimator: LaneEstimator, now: float) -> float:
        """Seconds until an attempt may be admitted, at the soonest."""
        with self._lock:
            is_open = estimator.may_send(now) and self.pace.may_send(now)
            seconds = 0.0 if is_open else max(0.0, self._next_chance(estimator, now) - now)
        self._record_ended_now()
        return seconds

    def queue(self, name: str, now: float) -> QueueState:
        """The calls that wait for a lane, and what for."""
        estimator, queue = self._lanes[name]
        with self._lock:
            opens_in = max(0.0, self._next_chance(estimator, now) - now)
            state = queue_state(queue, estimator, self.pace.may_send(now), opens_in, now)
        self._record_ended_now()
        return state

    # --- the life of a permit -----------------------------------------------------------------

    def try_acquire(
        self,
        estimator: LaneEstimator,
        now: float,
        until: float,
        latest: float,
        turn: int | None = None,
        next_by: float = math.inf,
        *,
        begin: bool = False,
    ) -> Permit:
        """Request a permit, ``granted`` at once if no call waits and the lane is open.

        Args:
            estimator: the lane's.
            now: seconds on the caller's clock, as all moments.
            until: when the call leaves the lane, if it was not admitted.
            latest: after this moment, an attempt is not worth starting; at least ``until``.
            turn: the turn of an earlier permit, to keep it; None: the next turn.
            next_by: when the call must be on another lane; infinity: no need.
            begin: whether the request is sent at once, if it is granted.
        """
        turn = next(self._turns) if turn is None else turn
        permit = HeldPermit(estimator, until, latest, turn, self._lost.append, next_by)
        pace, self.last_used = self.pace, now
        with self._lock:
            woken = self._pump(now) if self._ended or self._lost else []
            if not self._waiting:
                if pace.on:
                    pace.relax(now)
                if not (pace.on and not pace.may_send(now)) and estimator.admit(permit, now):
                    self._granted(permit, now)
                    permit.begun = begin
        if woken or self._ended:
            self._unlocked(woken, now)
        return permit

    def recheck(self, permit: Permit, now: float, wake: Callable[[], None]) -> float:
        """Queue the permit; return the seconds until the next check, 0 if the wait is over.

        At 0 the permit is granted; or it is not, since ``until`` has passed, or will pass before
        the lane opens. At ``until``, a lane that is not refusing still grants the permit before
        ``latest``.

        ``wake`` is called once when the state changes, from any thread, maybe before this returns.
        It raises RuntimeError if the caller is gone.
        """
        with self._lock:
            if not permit.granted and not permit.waiting and now < permit.until:
                permit.waiting = True
                self._lanes[permit.estimator.name][1].push(permit)
                self._waiting += 1
            permit.wake, permit.armed = None, math.inf
            woken = self._pump(now)
            seconds = self._seconds(permit, now)
            if seconds > 0:
                permit.wake, permit.armed = wake, now + seconds
            elif not permit.granted:
                self._leave_queue(permit)
                # Only unresolved requests may keep the lane from accepting another.
                refuses = permit.estimator.refuses(now) or not self.pace.may_send(now)
                if now < permit.latest and not refuses:
                    self._grant(permit, now)
                woken += self._pump(now)
        self._unlocked(woken, now)
        return seconds

    def start(self, permit: Permit | None, now: float) -> None:
        """Record that the request is sent now."""
        assert permit is not None
        with self._lock:
            if not permit.granted:  # a last attempt, whatever the estimate
                self._grant(permit, now)
            permit.begun, permit.sent_at = True, now
            # It will be resolved sooner than a permit that is granted but not used.
            woken = self._pump(now) if self._waiting else []
        self._unlocked(woken, now)

    def end(
        self,
        permit: Permit | None,
        verdict: Verdict,
        now: float,
        spacing: ProbeSpacing = DEFAULT_SPACING,
        *,
        timed: bool = False,
    ) -> None:
        """Give the permit back: the request ended, or is not sent. A second call does nothing.

        ``spacing`` is the interval between probes, if it was refused; ``timed``: whether its time
        counts as a latency of the lane.
        """
        if permit is None or permit.verdict:
            return
        if self._ended or not self._lock.acquire(blocking=False):
            self._ended.append((permit, verdict, now, spacing, timed))
            self._record_ended_now()
            return
        try:
            self._record_end(permit, verdict, now, spacing, timed)
            woken = self._pump(now) if self._waiting else []
        finally:
            self._lock.release()
        if woken or self._ended:
            self._unlocked(woken, now)

    def stalls_in(self, permit: Permit, now: float, factor: float, until: float) -> float:
        """Seconds until a silent request should be checked again; 0: it has stalled.

        See :meth:`StallDetector.stalls_in`.
        """
        estimator = permit.estimator
        with self._lock:
            waiting = len(self._lanes[estimator.name][1]) > 0
            seconds = estimator.stalls_in(permit, now, factor, until, waiting)
        self._record_ended_now()
        return seconds

    def shut(self, estimator: LaneEstimator, until: float, now: float) -> None:
        """Shut the lane until a moment that the server named."""
        with self._lock:
            estimator.shut(until, now)
            self.shut_until = max(self.shut_until, until)
            woken: list[_Woken] = []
            for permit in self._lanes[estimator.name][1] if self._waiting else ():
                if permit.until <= estimator.shut_until:
                    _collect(permit, woken)
        self._unlocked(woken, now)

    def limited(
        self,
        now: float,
        wait: float,
        refused: RateLimit = _REQUESTS,
        number: int = 0,
        sent_at: float = 0.0,
    ) -> None:
        """Record a rate limit, on any lane; see :meth:`Pacing.limited`."""
        with self._lock:
            self.pace.limited(now, wait, refused, number, sent_at)
        self._record_ended_now()

    def reported(self, permit: Permit, limits: Sequence[RateLimit], now: float) -> None:
        """Record the limits that the response to a request states in its headers."""
        with self._lock:
            self.pace.reported(limits, permit.number, permit.sent_at, now)
            woken = self._pump(now) if self._waiting else []
        self._unlocked(woken, now)

    # --- not under the lock -------------------------------------------------------------------

    def _unlocked(self, woken: list[_Woken], now: float) -> None:
        """After work under the lock: wake the calls concerned, record what ended meanwhile."""
        if woken:
            self._wake(woken, now)
        if self._ended:
            self._record_ended_now()

    def _record_ended_now(self) -> None:
        """Record ended permits; if the lock is taken, its holder does so after releasing it.

        Ending a permit never waits for the lock: the garbage collector may end one (a coroutine of
        a closed loop) in the very thread that holds the lock.
        """
        while self._ended and self._lock.acquire(blocking=False):
            try:
                if not self._ended:  # another thread has recorded it meanwhile
                    return
                now = self._ended[-1][2]
                woken = self._pump(now)
            finally:
                self._lock.release()
            self._wake(woken, now)

    def _wake(self, woken: list[_Woken], now: float) -> None:
        for permit, wake in woken:
            if not _woke(wake):
                self.end(permit, "gone", now)

    # --- under the lock -----------------------------------------------------------------------

    def _pump(self, now: float) -> list[_Woken]:
        """Admit the calls that may be sent; wake the next ones where they would check too late."""
        while self._ended:
            self._record_end(*self._ended.popleft())
        self._drop_lost()
        woken: list[_Woken] = []
        while self._waiting:
            first: Permit | None = None
            for estimator, queue in self._lanes.values():
                head = queue.head()
                if head is None:
                    continue
                if not (estimator.may_send(now) and self.pace.may_send(now)):
                    if head.armed > max(self._next_chance(estimator, now), now + _TICK):
                        _collect(head, woken)
                elif first is None or (head.until, head.turn) < (first.until, first.turn):
                    first = head
            if first is None:
                break
            self._leave_queue(first)
            if now < first.until:  # else it is woken to leave the lane
                self._grant(first, now)
            _collect(first, woken)
        return woken

    def _seconds(self, permit: Permit, now: float) -> float:
        if permit.granted or now >= permit.until:
            return 0.0
        estimator = permit.estimator
        if estimator.shut_until >= permit.until or self.pace.until >= permit.until:
            return 0.0  # the lane does not open in time
        until = min(permit.until, now + _RECHECK_AFTER + self._waiting / _RECHECKS_A_SECOND)
        if self._lanes[estimator.name][1].head() is permit:
            if (hurry := self.pace.leave_by(permit.next_by, self._waiting, now)) <= now:
                return 0.0
            until = min(until, self._next_chance(estimator, now), hurry)
        return max(until - now, _TICK)

    def _next_chance(self, estimator: LaneEstimator, now: float) -> float:
        return max(estimator.next_chance(now), self.pace.next_chance())

    def _grant(self, permit: Permit, now: float) -> None:
        permit.estimator.sent(permit, now)
        self._granted(permit, now)

    def _granted(self, permit: Permit, now: float) -> None:
        permit.granted, pace = True, self.pace
        if pace.on:
            permit.number = pace.sent(now)
            return
        pace.unrecorded.append(now)
        pace.sent_count += 1
        permit.number = pace.sent_count
        if len(pace.unrecorded) > _MOST_UNRECORDED:
            pace.record()

    def _leave_queue(self, permit: Permit) -> None:
        if permit.waiting:
            permit.waiting = False
            self._lanes[permit.estimator.name][1].leave(permit)
            self._waiting -= 1

    def _record_end(
        self, permit: Permit, verdict: Verdict, now: float, spacing: ProbeSpacing, timed: bool
    ) -> None:
        if permit.verdict:
            return  # it had ended
        self._leave_queue(permit)
        permit.wake = None
        if permit.granted:
            permit.estimator.ended(permit, verdict, now, spacing, timed)
        permit.verdict = verdict

    def _drop_lost(self) -> None:
        while self._lost:
            estimator, confirmed = self._lost.popleft()
            estimator.drop(confirmed)


def _collect(permit: Permit, woken: list[_Woken]) -> None:
    """Add the permit's callback to those to be called: once until its caller checks again."""
    if permit.wake is not None:
        woken.append((permit, permit.wake))
        permit.wake, permit.armed = None, 0.0


def _woke(wake: Callable[[], None]) -> bool:
    try:
        wake()
    except RuntimeError:  # the event loop was closed
        return False
    return True
