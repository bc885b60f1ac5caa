"""Whether calls come in bursts: a batch is for many at once, and a lone call waits in vain.

What a call waited in vain for is remembered for a while: a program that asks one after the other is
not to wait for others each time.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Hashable

from flextier._utils.fork import after_fork_in_child

SKIP_WINDOW_FOR = 600.0
"""Seconds for which nobody waits for bursts, after it has not come."""


class BurstTracker:
    """The calls under way in this process, by account and model; moments on their clock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: Counter[Hashable] = Counter()
        self._alone_until: dict[Hashable, float] = {}

    def call_started(self, key: Hashable, now: float, least: int) -> bool:
        """One more call; whether it is worth waiting for others that make a file with it.

        Args:
            key: whose it is, and of which model.
            now: the moment.
            least: how many calls a file is worth making for.
        """
        with self._lock:
            self._under_way[key] += 1
            return self._under_way[key] >= least or now >= self._alone_until.get(key, now)

    def call_ended(self, key: Hashable) -> None:
        """One less."""
        with self._lock:
            self._under_way[key] -= 1
            if self._under_way[key] <= 0:
                del self._under_way[key]

    def window_expired(self, key: Hashable, now: float) -> None:
        """A call has waited for others, and too few have come."""
        with self._lock:
            self._alone_until[key] = now + SKIP_WINDOW_FOR

    def reset_after_fork(self) -> None:
        """Nobody is under way, and nothing is known: as in a child after a fork."""
        self._lock = threading.Lock()
        self._under_way.clear()
        self._alone_until.clear()


BURSTS = BurstTracker()

after_fork_in_child(BURSTS.reset_after_fork)
