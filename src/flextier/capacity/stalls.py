"""Decides which silent requests have stalled: they are given up and sent again.

Pure: no clock, no lock, no I/O. A silent request is compared with the others of its lane, so that
a lane that has become slow is not mistaken for one that stalls.
"""

from __future__ import annotations

from math import inf

from flextier.capacity.estimators import ENOUGH, Latencies
from flextier.capacity.permit import Permit

_TOGETHER = 0.1
"""Requests sent within this many seconds were sent together."""

_LEAST, _LOOK = 5.0, 0.5
_LOOK_FULL = 5.0

_FEW = 10
"""With fewer later answers than this, a request may be silent for longer: ten times with one."""

_SHARE_FULL, _SHARE = 1 / 3, 1 / 2
"""Of the time that a call may spend on the lane: how long it may be silent on a full lane at most,
and on another at least."""


class StallDetector:
    """The silent requests of a lane, and which of them have stalled."""

    __slots__ = (
        "_given_up_at", "_latencies", "given_up_after", "last_admitted", "silent",
    )  # fmt: skip

    def __init__(self, latencies: Latencies) -> None:
        self._latencies = latencies
        self.silent: dict[int, float] = {}
        """When each silent request is checked next, in the order of sending."""
        self.last_admitted = 0.0
        """When the last request that was admitted was sent."""
        self._given_up_at = 0.0
        """When a request was given up without a later answer."""
        self.given_up_after = 0.0
        """How long that one was silent; 0: an answer came since."""

    def ended(self, permit: Permit, *, served: bool) -> None:
        """Record the end of a request."""
        self.silent.pop(permit.number, None)
        if served:
            self.given_up_after = 0.0

    def stalls_in(
        self, permit: Permit, now: float, factor: float, until: float, full: bool
    ) -> float:
        """Seconds until a silent request should be checked again; 0: it has stalled.

        It has stalled after ``factor`` times the longest of 20 *later* answers: to requests sent
        with it or after it. With fewer, it may be silent for longer. Without any, requests are
        given up one at a time, the last one first, and only when none was admitted for as long:
        what is sent in its place shows whether the lane is slow or the others have stalled.

        ``until`` is when a call that was sent with it leaves the lane; ``full``: calls wait for it.
        """
        silent = now - permit.sent_at
        if silent < _LEAST:
            seconds = max(_LEAST - silent, _LOOK)
        else:
            seconds = self._left(permit, now, factor, until, full)
        if seconds <= 0:
            self.silent.pop(permit.number, None)
            return 0.0
        self.silent[permit.number] = now + seconds
        return seconds

    def _left(self, permit: Permit, now: float, factor: float, until: float, full: bool) -> float:
        """Seconds until the next check of a request that is silent for some time; 0: stalled."""
        silent = now - permit.sent_at
        later, allowed = self._allowed(permit, factor, until, full)
        if silent >= allowed and (later or self._may_give_up(permit, now, allowed)):
            return 0.0
        left = allowed - silent if silent < allowed else inf
        if later < ENOUGH:  # a later answer may show it sooner
            left = min(left, silent / 4, _LOOK_FULL if full else inf)
        return max(left, _LOOK)

    def _allowed(
        self, permit: Permit, factor: float, until: float, full: bool
    ) -> tuple[int, float]:
        """The number of later answers, and how many seconds the request may be silent."""
        later, longest = self._latencies.since(permit.sent_at - _TOGETHER)
        if later >= ENOUGH:
            # The lane may have become fast after it was sent.
            longest = max(longest, self._latencies.longest_before(permit.sent_at))
            return later, max(longest * factor, _LEAST)
        known = self._latencies.longest
        if known is None:
            return 0, inf
        least = max(known * factor, _LEAST)
        few = least * max(1.0, _FEW / max(later, 1))
        time = until - permit.sent_at
        allowed = max(least, min(few, time * _SHARE_FULL)) if full else max(few, time * _SHARE)
        if not later:  # twice as long as the one before, which may have been given up too soon
            allowed = max(allowed, min(2 * self.given_up_after, time * _SHARE))
        return later, allowed

    def _may_give_up(self, permit: Permit, now: float, allowed: float) -> bool:
        """Whether to give up a request without a later answer."""
        if now - self.last_admitted < allowed:
            return False  # that one will show what the lane does
        if self.last_admitted <= self._given_up_at and now - self._given_up_at < allowed:
            return False  # nothing was admitted in the place of the one before
        for number, next_check in reversed(self.silent.items()):
            if number == permit.number:
                self._given_up_at, self.given_up_after = now, now - permit.sent_at
                return True
            if now < next_check + _LEAST:  # else it is not waited for: its first byte has come
                return False
        return False
