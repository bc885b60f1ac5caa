"""The limiters of this process."""

from __future__ import annotations

import math
import threading
import time
from functools import partial

from flextier._utils.fork import after_fork_in_child
from flextier.capacity.account_key import LaneKey
from flextier.capacity.lane_estimator import LaneEstimator
from flextier.capacity.limiter import Limiter
from flextier.capacity.snapshot import LaneState, state_of
from flextier.capacity.unsupported_lanes import UnsupportedLanes

_FEW = 100
"""Limiters that are kept, whether they are used or not."""
_UNUSED = 3600.0


class LimiterRegistry(UnsupportedLanes):
    """Holds a limiter for each (base URL, account, model), and the unsupported lanes."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._limiters: dict[tuple[str, str, str], Limiter] = {}
        self._most = _FEW

    def limiter(self, base_url: str, account: str, model: str, now: float) -> Limiter:
        """The limiter that all calls of an account and model share; made at first use."""
        where = (base_url, account, model)
        limiter = self._limiters.get(where)
        if limiter is None:
            with self._lock:
                if len(self._limiters) >= self._most:
                    self._drop_unused(now)
                limiter = self._limiters.setdefault(where, Limiter())
        limiter.last_used = now
        return limiter

    def _drop_unused(self, now: float) -> None:
        """Drop what is known of models and accounts that had no call for an hour."""
        kept = {
            where: limiter
            for where, limiter in self._limiters.items()
            if limiter.is_busy or now - limiter.last_used < _UNUSED
        }
        if len(kept) < len(self._limiters):
            self._limiters = kept
            self.keep(kept)  # and the version changes, as plans refer to limiters
        self._most = max(_FEW, 2 * len(kept))

    def shut_for(self, key: LaneKey, now: float) -> float:
        """Seconds until the server allows requests on the lane (0: now; infinity: unsupported)."""
        if self.is_unsupported(key):
            return math.inf
        limiter = self._limiters.get(key[:3])
        return 0.0 if limiter is None else limiter.shut_for(key.lane, now)

    def snapshot(self, now: float) -> tuple[LaneState, ...]:
        """The state of every lane that was used."""
        with self._lock:
            limiters = list(self._limiters.items())

        def show(where: tuple[str, str, str], estimator: LaneEstimator, waiting: int) -> LaneState:
            unsupported = self.is_unsupported(LaneKey(*where, estimator.name))
            return state_of(where, estimator, waiting, now, unsupported)

        return tuple(
            state for where, limiter in limiters for state in limiter.lanes(partial(show, where))
        )

    def reset(self) -> None:
        """Clear everything, as in a new process. Calls under way end at their old limiters."""
        self._lock = threading.Lock()
        self._limiters, self._most = {}, _FEW
        self.clear()


CAPACITY = LimiterRegistry()
"""The registry of this process."""


def capacity_snapshot() -> tuple[LaneState, ...]:
    """The state of every lane that this process has used: open, held or shut, and its limits."""
    return CAPACITY.snapshot(time.monotonic())


after_fork_in_child(CAPACITY.reset)  # the waiting calls are the parent's
