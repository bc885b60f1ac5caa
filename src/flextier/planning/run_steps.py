"""Which calls are steps of a run: each waits for the one before, and is waited for by the next."""

from __future__ import annotations

import threading
from collections import OrderedDict

from flextier._utils.fork import after_fork_in_child

_MAX_RUNS = 10_000


class RunTracker:
    """The runs that this process has seen calls of, and how many of each are on their way."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: OrderedDict[str, int] = OrderedDict()

    def call_started(self, run: str) -> bool:
        """One more call of a run; whether it is a step: there were others, and they have ended.

        Of calls that are made at once none follows from another.
        """
        with self._lock:
            under_way = self._calls.pop(run, None)
            self._calls[run] = (under_way or 0) + 1
            while len(self._calls) > _MAX_RUNS:
                self._calls.popitem(last=False)
        return under_way == 0

    def call_ended(self, run: str) -> None:
        """One less."""
        with self._lock:
            if self._calls.get(run):
                self._calls[run] -= 1

    def reset_after_fork(self) -> None:
        """After a fork: the runs stay known; the lock, and what is on its way, are the parent's."""
        self._lock = threading.Lock()
        self._calls = OrderedDict.fromkeys(self._calls, 0)


RUNS = RunTracker()

after_fork_in_child(RUNS.reset_after_fork)
