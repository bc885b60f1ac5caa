"""Whether a call waits for others to form a batch: only calls that are made at once are worth one.

After a batch window has expired with too few calls, calls skip it for ten minutes: a program that
makes one call after the other does not wait each time.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Hashable

from flextier._utils.clock import Clock
from flextier._utils.fork import after_fork_in_child
from flextier.calls.run_tracking import RUNS
from flextier.lanes.batch import AUTO_MIN_CALLS
from flextier.planning.auto_plan import RUN_STEP, TOO_FEW_CALLS
from flextier.policy import FlexPolicy

SKIP_WINDOW_FOR = 600.0
"""Seconds for which calls skip the batch window after it expired with too few calls."""


class BurstTracker:
    """Counts the calls under way in this process, by account and model."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # the garbage collector may end a call while it is held
        self._under_way: Counter[Hashable] = Counter()
        self._skip_until: dict[Hashable, float] = {}

    def call_started(self, key: Hashable, now: float, min_calls: int) -> bool:
        """Count a call of an account and model; return whether it should wait for others to form a
        batch, of ``min_calls`` at least."""
        with self._lock:
            self._under_way[key] += 1
            return self._under_way[key] >= min_calls or now >= self._skip_until.get(key, now)

    def call_ended(self, key: Hashable) -> None:
        """Stop counting a call."""
        with self._lock:
            self._under_way[key] -= 1
            if self._under_way[key] <= 0:
                del self._under_way[key]

    def window_expired(self, key: Hashable, now: float) -> None:
        """Record that a batch window expired with too few calls."""
        with self._lock:
            others = {one: until for one, until in self._skip_until.items() if until > now}
            self._skip_until = {**others, key: now + SKIP_WINDOW_FOR}

    def reset_after_fork(self) -> None:
        """Clear everything: the calls under way are the parent's."""
        self._lock = threading.RLock()
        self._under_way.clear()
        self._skip_until.clear()


BURSTS = BurstTracker()

after_fork_in_child(BURSTS.reset_after_fork)


class BurstMembership:
    """One call's part in its burst and its run, from its start to :meth:`leave`."""

    __slots__ = ("_clock", "_key", "_open", "_run", "_step")

    def __init__(self, run: str | None, key: tuple[str, str, str], clock: Clock) -> None:
        """Count the call as a call of its run, if it has one; ``key``: account and model."""
        self._run = run
        self._key = key
        self._clock = clock
        self._open = True
        self._step = run is not None and RUNS.call_started(run)

    def no_batch_reason(self, policy: FlexPolicy) -> str:
        """Why the call does not wait for a batch; empty if it may. Called once: it counts."""
        min_calls = max(AUTO_MIN_CALLS, policy.batch_min_calls)
        worth_it = BURSTS.call_started(self._key, self._clock.now(), min_calls)
        return RUN_STEP if self._step else "" if worth_it else TOO_FEW_CALLS

    def window_expired(self) -> None:
        """Record that the call's batch window expired with too few calls."""
        BURSTS.window_expired(self._key, self._clock.now())

    def leave(self) -> None:
        """Record that the call is over."""
        if self._open:
            self._open = False
            BURSTS.call_ended(self._key)
            if self._run is not None:
                RUNS.call_ended(self._run)
