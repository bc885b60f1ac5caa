"""Who may send now: all calls of this process for one model of one account, and their turn.

Threads and event loops share a limiter, so everything is done under one lock, which is never held
while anybody waits. Nobody watches the time but those who wait: the most urgent one of each lane
looks again when time alone may have opened it, and whatever happens passes the turn on.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import TypeVar

from flextier.capacity.lane_estimator import LaneEstimator
from flextier.capacity.permit import DEFAULT_SPACING, Permit, ProbeSpacing, Verdict
from flextier.capacity.request_rate import RequestRate
from flextier.capacity.wait_queue import WaitQueue

_RECHECK_AFTER = 5.0
_RECHECKS_A_SECOND = 20
"""Everybody who waits looks by themselves now and then, in case that the most urgent one cannot
(an event loop that is blocked): after 5 s, and no more than so many looks a second in all."""

_TICK = 0.001

_Woken = tuple[Permit, Callable[[], None]]
_T = TypeVar("_T")


class Limiter:
    """The lanes of one model, the request limit that they share, and those who wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lanes: dict[str, tuple[LaneEstimator, WaitQueue]] = {}
        self._waiting = 0
        self._ended: deque[tuple[Permit, Verdict, float, ProbeSpacing, bool]] = deque()
        self._lost: deque[tuple[LaneEstimator, bool]] = deque()
        self._turns = count()
        self.pace = RequestRate()

    def lane(self, name: str, scarce: bool) -> LaneEstimator:
        """What is known of a lane."""
        entry = self._lanes.get(name)
        if entry is None:
            with self._lock:
                entry = self._lanes.setdefault(name, (LaneEstimator(name, scarce), WaitQueue()))
            self._book()
        return entry[0]

    def lanes(self, show: Callable[[LaneEstimator, int], _T]) -> list[_T]:
        """What ``show`` makes of every lane that was asked for, and of how many wait for it."""
        self._book()
        with self._lock:
            self._drop_lost()
            shown = [show(estimator, len(queue)) for estimator, queue in self._lanes.values()]
        self._book()
        return shown

    def shut_for(self, name: str, now: float) -> float:
        """Seconds until a lane may be asked, by the server's own word."""
        entry = self._lanes.get(name)
        return 0.0 if entry is None else max(0.0, entry[0].shut_until - now)

    def latency(self, name: str, share: float) -> float | None:
        """The seconds within which that share of a lane's last answers came; None: not known."""
        entry = self._lanes.get(name)
        if entry is None:
            return None
        with self._lock:
            seconds = entry[0].durations.quantile(share)
        self._book()
        return seconds

    def opens_in(self, estimator: LaneEstimator, now: float) -> float:
        """Seconds until an attempt may be let in, at the soonest."""
        with self._lock:
            open_now = estimator.may_send(now) and self.pace.may_send(now)
            seconds = 0.0 if open_now else max(0.0, self._next_chance(estimator, now) - now)
        self._book()
        return seconds

    # --- a permit's life ----------------------------------------------------------------------

    def try_acquire(
        self,
        estimator: LaneEstimator,
        now: float,
        until: float,
        latest: float,
        turn: int | None = None,
        next_by: float = math.inf,
    ) -> Permit:
        """A permit for an attempt, ``granted`` at once if nobody waits and the lane is open.

        Args:
            estimator: the lane's.
            now: the moment.
            until: when the call leaves the lane, if it has not been let in.
            latest: from when on an attempt would not be worth starting; at least ``until``.
            turn: that of an earlier permit, which it keeps; None: the next one.
            next_by: by when the call is to be on another lane; infinity: no need.
        """
        turn = next(self._turns) if turn is None else turn
        permit = Permit(estimator, until, latest, turn, self._lost.append, next_by)
        pace = self.pace
        with self._lock:
            woken = self._pump(now) if self._ended or self._lost else []
            if not self._waiting:
                if pace.interval:
                    pace.relax(now)
                if estimator.may_send(now) and pace.may_send(now):
                    self._grant(permit, now)
        self._leave(woken, now)
        return permit

    def recheck(self, permit: Permit, now: float, wake: Callable[[], None]) -> float:
        """Seconds to wait before looking again; 0: no more.

        The permit is granted then; or it is not, and ``until`` has come, or will before there is
        any chance. A lane that does not refuse turns nobody away who may still be answered.

        Whoever waits is woken by ``wake`` when there is news: once, from whatever thread, maybe
        before this returns. It raises RuntimeError where nobody is left to be woken.
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
                if now < permit.latest and self._takes_it(permit.estimator, now):
                    self._grant(permit, now)
                woken += self._pump(now)
        self._leave(woken, now)
        return seconds

    def start(self, permit: Permit | None, now: float) -> None:
        """The request goes out now."""
        assert permit is not None
        with self._lock:
            if not permit.granted:  # the lane was not asked: a last try, whatever is known
                self._grant(permit, now)
            permit.begun, permit.sent_at = True, now
            # Its fate will be known sooner than that of one which nobody has come for yet.
            woken = self._pump(now) if self._waiting else []
        self._leave(woken, now)

    def end(
        self,
        permit: Permit | None,
        verdict: Verdict,
        now: float,
        spacing: ProbeSpacing = DEFAULT_SPACING,
        *,
        timed: bool = False,
    ) -> None:
        """The request came to an end, or is not to be made; does nothing if it had.

        Args:
            permit: the request's.
            verdict: what came of it.
            now: the moment.
            spacing: how far apart probes are to be, if it was refused.
            timed: whether the time that it took tells how long answers of the lane take.
        """
        if permit is None or permit.verdict:
            return
        if self._ended or not self._lock.acquire(blocking=False):
            self._ended.append((permit, verdict, now, spacing, timed))
            self._book()
            return
        try:
            self._book_one(permit, verdict, now, spacing, timed)
            woken = self._pump(now) if self._waiting else []
        finally:
            self._lock.release()
        self._leave(woken, now)

    def stalls_in(self, permit: Permit, now: float, factor: float) -> float:
        """Seconds until a silent request should be looked at again; 0: it has stalled.

        See :meth:`LaneEstimator.stalls_in`.
        """
        with self._lock:
            seconds = permit.estimator.stalls_in(permit, now, factor)
        self._book()
        return seconds

    def shut(self, estimator: LaneEstimator, until: float, now: float) -> None:
        """The lane is not to be asked until then."""
        with self._lock:
            estimator.shut(until, now)
            woken = self._all_of(estimator) if self._waiting else []
        self._leave(woken, now)

    def limited(self, now: float, wait: float) -> None:
        """The server said that there were too many requests, on whatever lane."""
        with self._lock:
            self.pace.limited(now, wait)
        self._book()

    # --- not under the lock -------------------------------------------------------------------

    def _leave(self, woken: list[_Woken], now: float) -> None:
        """After whatever was done under the lock: tell whom it concerns, book what ended then."""
        if woken:
            self._wake(woken, now)
        if self._ended:
            self._book()

    def _book(self) -> None:
        """Book what ended; where somebody is at the limiter, they do as soon as they leave it.

        Nobody waits for the lock to end a permit: the garbage collector may do so (a coroutine of
        a loop that is gone), in the very thread that holds the lock.
        """
        while self._ended and self._lock.acquire(blocking=False):
            try:
                if not self._ended:  # another thread has booked it meanwhile
                    return
                now = self._ended[-1][2]
                woken = self._pump(now)
            finally:
                self._lock.release()
            self._wake(woken, now)

    def _wake(self, woken: list[_Woken], now: float) -> None:
        for permit, wake in woken:
            if not _there(wake):
                self.end(permit, "gone", now)

    # --- under the lock -----------------------------------------------------------------------

    def _pump(self, now: float) -> list[_Woken]:
        """Let in whoever may go, and see to it that the next in line look in time."""
        self._book_ended()
        self._drop_lost()
        woken: list[_Woken] = []
        while self._waiting:
            first: Permit | None = None
            for estimator, queue in self._lanes.values():
                head = queue.head()
                if head is None:
                    continue
                if not (estimator.may_send(now) and self.pace.may_send(now)):
                    if head.armed > self._next_chance(estimator, now):
                        _collect(head, woken)
                elif first is None or (head.until, head.turn) < (first.until, first.turn):
                    first = head
            if first is None:
                break
            self._leave_queue(first)
            if now < first.until:  # else they come to hear that it is too late
                self._grant(first, now)
            _collect(first, woken)
        return woken

    def _takes_it(self, estimator: LaneEstimator, now: float) -> bool:
        """Whether nothing speaks against a request but that the fate of others is not known."""
        return not estimator.refuses(now) and self.pace.may_send(now)

    def _seconds(self, permit: Permit, now: float) -> float:
        if permit.granted or now >= permit.until:
            return 0.0
        estimator = permit.estimator
        if estimator.shut_until >= permit.until or self.pace.until >= permit.until:
            return 0.0  # there will be no chance in time
        until = min(permit.until, now + _RECHECK_AFTER + self._waiting / _RECHECKS_A_SECOND)
        if self._lanes[estimator.name][1].head() is permit:
            if (hurry := self._hurry(permit)) <= now:
                return 0.0
            until = min(until, self._next_chance(estimator, now), hurry)
        return max(until - now, _TICK)

    def _next_chance(self, estimator: LaneEstimator, now: float) -> float:
        return max(estimator.next_chance(now), self.pace.next_chance())

    def _hurry(self, permit: Permit) -> float:
        """When the most urgent one is to leave for another lane: under a request limit, in time for
        all that wait to be sent one after the other by then.
        """
        if not self.pace.on or permit.next_by == math.inf:
            return math.inf
        return max(permit.next_by - self._waiting * self.pace.interval, self.pace.next_chance())

    def _grant(self, permit: Permit, now: float) -> None:
        permit.granted = True
        permit.estimator.sent(permit, now)
        self.pace.sent(now)

    def _leave_queue(self, permit: Permit) -> None:
        if permit.waiting:
            permit.waiting = False
            self._lanes[permit.estimator.name][1].leave(permit)
            self._waiting -= 1

    def _all_of(self, estimator: LaneEstimator) -> list[_Woken]:
        woken: list[_Woken] = []
        for permit in self._lanes[estimator.name][1]:
            if permit.until <= estimator.shut_until:
                _collect(permit, woken)
        return woken

    def _book_ended(self) -> None:
        while self._ended:
            self._book_one(*self._ended.popleft())

    def _book_one(
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
    """Wake whoever waits with a permit, once; until they look again they need not be."""
    if permit.wake is not None:
        woken.append((permit, permit.wake))
        permit.wake, permit.armed = None, 0.0


def _there(wake: Callable[[], None]) -> bool:
    try:
        wake()
    except RuntimeError:  # the event loop was closed
        return False
    return True
