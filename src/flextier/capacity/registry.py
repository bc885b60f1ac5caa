"""What this process has learnt of each lane, by whose it is."""

from __future__ import annotations

import math
import threading
import time
from functools import partial
from typing import NamedTuple

from flextier._utils.fork import after_fork_in_child
from flextier.capacity.lane_estimator import LaneEstimator
from flextier.capacity.limiter import Limiter
from flextier.capacity.snapshot import LaneState, state_of


class LaneKey(NamedTuple):
    """What a piece of knowledge is about."""

    base_url: str
    account: str
    model: str
    lane: str


class LimiterRegistry:
    """A limiter for each (base URL, account, model). Moments are seconds on the callers' clock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._limiters: dict[tuple[str, str, str], Limiter] = {}
        self._unsupported: set[LaneKey] = set()

    def limiter(self, base_url: str, account: str, model: str) -> Limiter:
        """The limiter that all calls of this model share."""
        where = (base_url, account, model)
        limiter = self._limiters.get(where)
        if limiter is None:
            with self._lock:
                limiter = self._limiters.setdefault(where, Limiter())
        return limiter

    def mark_unsupported(self, key: LaneKey) -> None:
        """The lane does not serve this model."""
        with self._lock:
            self._unsupported.add(key)

    def is_unsupported(self, key: LaneKey) -> bool:
        """Whether the lane does not serve this model."""
        return key in self._unsupported

    def shut_for(self, key: LaneKey, now: float) -> float:
        """Seconds until the lane may be asked, by the server's own word: 0 now, infinity never."""
        if key in self._unsupported:
            return math.inf
        limiter = self._limiters.get(key[:3])
        return 0.0 if limiter is None else limiter.shut_for(key.lane, now)

    def snapshot(self, now: float) -> tuple[LaneState, ...]:
        """What is known of every lane that was asked for."""
        with self._lock:
            limiters = list(self._limiters.items())
            unsupported = set(self._unsupported)

        def show(where: tuple[str, str, str], estimator: LaneEstimator, waiting: int) -> LaneState:
            return state_of(
                *where, estimator, waiting, now, LaneKey(*where, estimator.name) in unsupported
            )

        return tuple(
            state for where, limiter in limiters for state in limiter.lanes(partial(show, where))
        )

    def reset(self) -> None:
        """Forget everything, as a new process would. Calls under way end at their old limiters."""
        self._lock = threading.Lock()
        self._limiters, self._unsupported = {}, set()


CAPACITY = LimiterRegistry()
"""What this process knows."""


def capacity_snapshot() -> tuple[LaneState, ...]:
    """What this process has learnt of every lane that it asked, on the real clock."""
    return CAPACITY.snapshot(time.monotonic())


after_fork_in_child(CAPACITY.reset)  # whoever waits, waits in the parent
