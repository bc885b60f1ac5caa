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
    """A gate for each (base URL, account, model). Moments are seconds on the callers' clock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._gates: dict[tuple[str, str, str], Limiter] = {}
        self._never: set[LaneKey] = set()

    def gate(self, base_url: str, account: str, model: str) -> Limiter:
        """The gate that all calls of this model share."""
        where = (base_url, account, model)
        gate = self._gates.get(where)
        if gate is None:
            with self._lock:
                gate = self._gates.setdefault(where, Limiter())
        return gate

    def never(self, key: LaneKey) -> None:
        """The lane does not serve this model."""
        with self._lock:
            self._never.add(key)

    def is_never(self, key: LaneKey) -> bool:
        """Whether the lane does not serve this model."""
        return key in self._never

    def shut_for(self, key: LaneKey, now: float) -> float:
        """Seconds until the lane may be asked, by the server's own word: 0 now, infinity never."""
        if key in self._never:
            return math.inf
        gate = self._gates.get(key[:3])
        return 0.0 if gate is None else gate.shut_for(key.lane, now)

    def snapshot(self, now: float) -> tuple[LaneState, ...]:
        """What is known of every lane that was asked for."""
        with self._lock:
            gates, never = list(self._gates.items()), set(self._never)

        def show(where: tuple[str, str, str], gauge: LaneEstimator, waiting: int) -> LaneState:
            return state_of(*where, gauge, waiting, now, LaneKey(*where, gauge.name) in never)

        return tuple(state for where, gate in gates for state in gate.lanes(partial(show, where)))

    def reset(self) -> None:
        """Forget everything, as a new process would. Calls under way end at their old gates."""
        self._lock = threading.Lock()
        self._gates, self._never = {}, set()


CAPACITY = LimiterRegistry()
"""What this process knows."""


def capacity_snapshot() -> tuple[LaneState, ...]:
    """What this process has learnt of every lane that it asked, on the real clock."""
    return CAPACITY.snapshot(time.monotonic())


after_fork_in_child(CAPACITY.reset)  # whoever waits, waits in the parent
