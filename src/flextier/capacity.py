"""What this process has learnt of each lane: shut until when, unsupported for which model.

A refusal is about the account and the model, not about one call, so all calls to the same
(base URL, account, model, lane) share what was learnt, from whatever thread or event loop.
"""

from __future__ import annotations

import math
import threading
from typing import NamedTuple


class LaneKey(NamedTuple):
    """What a piece of knowledge is about."""

    base_url: str
    account: str
    model: str
    lane: str


class Capacity:
    """A small, thread-safe memory of shut lanes. Times are the caller's clock, in seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shut_until: dict[LaneKey, float] = {}

    def shut(self, key: LaneKey, until: float) -> None:
        """The lane refuses until then (infinity: it does not serve this model)."""
        with self._lock:
            self._shut_until[key] = max(until, self._shut_until.get(key, -math.inf))

    def shut_for(self, key: LaneKey, now: float) -> float:
        """Seconds until the lane may be asked again: 0 when it may be now."""
        until = self._shut_until.get(key)
        if until is None:
            return 0.0
        if until > now:
            return until - now
        with self._lock:
            if self._shut_until.get(key) == until:
                del self._shut_until[key]
        return 0.0

    def reset(self) -> None:
        """Forget everything, as a new process would."""
        with self._lock:
            self._shut_until.clear()


CAPACITY = Capacity()
"""What this process knows."""
