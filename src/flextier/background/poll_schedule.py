"""How often background responses are asked about: each one's own rhythm, and the account's."""

from __future__ import annotations

import math
import threading

from flextier._utils.fork import after_fork_in_child

SOONEST = 2.0
"""Seconds to the first looks."""

_SHARE = 0.2
"""Of a response's age: an answer is noticed at most so much later than it was there."""

UNSTORED = 240.0
"""The most seconds between two looks at a response that is not stored: it is deleted about ten
minutes after its end."""

_MOST = 30.0
"""Polls a second, of all calls of an account together, unless the server refuses. A poll takes
about a millisecond of CPU."""

_TOGETHER = 8
"""Slots that the seconds to the first polls are divided into; polls come at one of them:
seven of thirty at once take half the CPU that they take one by one."""

_LEAST = 1.0
_REGAINED = 0.02


class PollSchedule:
    """What the calls of one account share: whose turn it is to look, and how often they may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rate = _MOST
        self._next = self._shut_until = -1e18

    def interval(self, now: float, age: float, longest: float, chance: float) -> float:
        """Seconds to the next look: in its own rhythm, or when it is its turn, if that is later.

        Args:
            now: on the clock.
            age: seconds since the response was accepted.
            longest: the most.
            chance: a number in [0, 1), so that those that were created together drift apart.
        """
        own = max(SOONEST, age * _SHARE) * (0.8 + 0.4 * chance)
        opens = self.opens_in(now)
        with self._lock:
            turn = max(self._next - now, opens) + 1.0 / self._rate
            # No further ahead than anybody waits for it: or a crowd would be felt when it is gone.
            self._next = now + min(turn, opens + longest)
        seconds = min(max(own, turn), opens + longest * (0.8 + 0.2 * chance))
        moment = SOONEST / _TOGETHER
        return min(math.ceil((now + seconds) / moment) * moment - now, opens + longest)

    def opens_in(self, now: float) -> float:
        """Seconds until the account may be asked again, by the server's word."""
        return max(0.0, self._shut_until - now)

    def answered(self) -> None:
        """A look was answered."""
        if self._rate < _MOST:
            with self._lock:
                self._rate = min(_MOST, self._rate + _REGAINED)

    def refused(self, now: float, wait: float) -> None:
        """There were too many polls: none for that long, and all less often afterwards."""
        with self._lock:
            if now >= self._shut_until:  # once, however many were refused at the same time
                self._rate = max(_LEAST, self._rate / 2)
            self._shut_until = max(self._shut_until, now + wait)


_PACES: dict[tuple[str, str], PollSchedule] = {}
_LOCK = threading.Lock()


def pace_of(where: tuple[str, str]) -> PollSchedule:
    """The pace of an account: base URL and a name for the key."""
    pace = _PACES.get(where)
    if pace is None:
        with _LOCK:
            pace = _PACES.setdefault(where, PollSchedule())
    return pace


def _forget_all() -> None:
    """A child has none of its parent's waiting calls."""
    global _LOCK
    _LOCK = threading.Lock()
    _PACES.clear()


after_fork_in_child(_forget_all)
