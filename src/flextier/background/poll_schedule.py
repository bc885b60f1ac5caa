"""When background responses are polled: by their age, and within the account's rate."""

from __future__ import annotations

import math
import threading

from flextier._utils.fork import after_fork_in_child
from flextier.capacity import AccountKey, LatelyUsed

MIN_POLL_INTERVAL = 2.0
"""Seconds between the first polls."""

_AGE_SHARE = 0.2
"""The poll interval as a share of a response's age: bounds how late its end is noticed."""

MAX_UNSTORED_INTERVAL = 240.0
"""The most seconds between two polls of a response that is not stored: it is deleted about ten
minutes after its end."""

_MAX_RATE = 30.0
"""Polls a second, of all calls of an account together, until one is rate limited. A poll takes
about a millisecond of CPU."""

_SLOTS = 8
"""Polls start at multiples of ``MIN_POLL_INTERVAL / _SLOTS``, so that several run at once: seven at
once take half the CPU that they take one by one."""

_MIN_RATE = 1.0
"""Polls a second, however many are rate limited."""

_RATE_STEP = 0.02
"""Polls a second by which a successful poll raises the rate."""


class PollSchedule:
    """The poll rate that all calls of one account share."""

    is_busy = False

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.last_used = 0.0
        """When an interval was last asked for."""
        self._rate = _MAX_RATE
        self._next = self._paused_until = -1e18

    def interval(self, now: float, age: float, max_interval: float, jitter: float) -> float:
        """Seconds to the next poll: by the response's age, or later if the rate requires it.

        At most ``max_interval``, unless the account is rate limited. ``jitter`` is a random number
        in [0, 1): responses created together drift apart.
        """
        self.last_used = now
        own = max(MIN_POLL_INTERVAL, age * _AGE_SHARE) * (0.8 + 0.4 * jitter)
        paused = self.paused_for(now)
        with self._lock:
            slot = max(self._next - now, paused) + 1.0 / self._rate
            # At most ``max_interval`` ahead: a burst must not delay polls long after its end.
            self._next = now + min(slot, paused + max_interval)
        seconds = min(max(own, slot), paused + max_interval * (0.8 + 0.2 * jitter))
        step = MIN_POLL_INTERVAL / _SLOTS
        return min(math.ceil((now + seconds) / step) * step - now, paused + max_interval)

    def paused_for(self, now: float) -> float:
        """Seconds until the account may poll again after a rate limit."""
        return max(0.0, self._paused_until - now)

    def succeeded(self) -> None:
        """Raise the rate a little after a successful poll."""
        if self._rate < _MAX_RATE:
            with self._lock:
                self._rate = min(_MAX_RATE, self._rate + _RATE_STEP)

    def rate_limited(self, now: float, wait: float) -> None:
        """After a rate limit: no polls for ``wait`` seconds, then at half the rate."""
        with self._lock:
            if now >= self._paused_until:  # once, however many polls were rate limited together
                self._rate = max(_MIN_RATE, self._rate / 2)
            self._paused_until = max(self._paused_until, now + wait)


POLL_SCHEDULES = LatelyUsed[AccountKey, PollSchedule](PollSchedule)
after_fork_in_child(POLL_SCHEDULES.reset)  # the waiting calls belong to the parent process
