"""When background responses are polled: by their age, and within the account's rate."""

from __future__ import annotations

import math
import threading

from flextier._utils.fork import after_fork_in_child

SOONEST = 2.0
"""Seconds to the first polls."""

_SHARE = 0.2
"""Poll interval as a share of a response's age: bounds how late its end is noticed."""

UNSTORED = 240.0
"""The most seconds between two polls of a response that is not stored: it is deleted about ten
minutes after its end."""

_MOST = 30.0
"""Polls a second, of all calls of an account together, until one is rate limited. A poll takes
about a millisecond of CPU."""

_TOGETHER = 8
"""Polls are aligned to this fraction of ``SOONEST``, so that several run at once: seven of thirty
at once take half the CPU that they take one by one."""

_LEAST = 1.0
_REGAINED = 0.02


class PollSchedule:
    """The poll rate that all calls of one account share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rate = _MOST
        self._next = self._shut_until = -1e18

    def interval(self, now: float, age: float, longest: float, chance: float) -> float:
        """Seconds to the next poll: by the response's age, or later if the rate requires it.

        Args:
            now: on the clock.
            age: seconds since the response was accepted.
            longest: the most.
            chance: a random number in [0, 1), so that responses created together drift apart.
        """
        own = max(SOONEST, age * _SHARE) * (0.8 + 0.4 * chance)
        opens = self.opens_in(now)
        with self._lock:
            turn = max(self._next - now, opens) + 1.0 / self._rate
            # At most ``longest`` ahead: otherwise a burst would delay polls long after it is over.
            self._next = now + min(turn, opens + longest)
        seconds = min(max(own, turn), opens + longest * (0.8 + 0.2 * chance))
        moment = SOONEST / _TOGETHER
        return min(math.ceil((now + seconds) / moment) * moment - now, opens + longest)

    def opens_in(self, now: float) -> float:
        """Seconds until the account may poll again after a rate limit."""
        return max(0.0, self._shut_until - now)

    def answered(self) -> None:
        """Raise the rate a little after a successful poll."""
        if self._rate < _MOST:
            with self._lock:
                self._rate = min(_MOST, self._rate + _REGAINED)

    def refused(self, now: float, wait: float) -> None:
        """After a rate limit: no polls for ``wait`` seconds, then at half the rate."""
        with self._lock:
            if now >= self._shut_until:  # once, however many polls were refused together
                self._rate = max(_LEAST, self._rate / 2)
            self._shut_until = max(self._shut_until, now + wait)


_PACES: dict[tuple[str, str], PollSchedule] = {}
_LOCK = threading.Lock()


def pace_of(where: tuple[str, str]) -> PollSchedule:
    """The poll schedule of an account: base URL and a name for the key."""
    pace = _PACES.get(where)
    if pace is None:
        with _LOCK:
            pace = _PACES.setdefault(where, PollSchedule())
    return pace


def _forget_all() -> None:
    """Start empty: waiting calls belong to the parent process."""
    global _LOCK
    _LOCK = threading.Lock()
    _PACES.clear()


after_fork_in_child(_forget_all)
