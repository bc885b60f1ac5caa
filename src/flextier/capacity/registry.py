"""The limiters of this process."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

from flextier._utils.fork import after_fork_in_child
from flextier.capacity.account_key import LaneKey
from flextier.capacity.limiter import Limiter
from flextier.capacity.unsupported_lanes import UnsupportedLanes

_FEW = 100
"""Values that are kept, whether they are used or not."""
_UNUSED = 3600.0


class _Value(Protocol):
    last_used: float

    @property
    def is_busy(self) -> bool: ...


_K = TypeVar("_K")
_V = TypeVar("_V", bound=_Value)


class LatelyUsed(dict[_K, _V]):
    """Values by key, made at first use; above 100, those unused for an hour are dropped."""

    def __init__(
        self, make: Callable[[], _V], on_drop: Callable[[], object] = lambda: None
    ) -> None:
        super().__init__()
        self._make, self._on_drop = make, on_drop
        self.reset()

    def of(self, key: _K, now: float) -> _V:
        """The value of a key."""
        value = self.get(key)
        if value is None:
            with self._lock:
                if len(self) >= self._most:
                    self._drop_unused(now)
                value = self.setdefault(key, self._make())
        value.last_used = now
        return value

    def _drop_unused(self, now: float) -> None:
        values = list(self.items())
        for key, value in values:
            if not value.is_busy and now - value.last_used >= _UNUSED:
                del self[key]
        self._most = max(_FEW, 2 * len(self))
        if len(self) < len(values):
            self._on_drop()

    def reset(self) -> None:
        """Clear everything, as in a new process, or in a forked child."""
        self._lock = threading.Lock()
        self._most = _FEW
        self.clear()


class LimiterRegistry(UnsupportedLanes):
    """Holds a limiter for each (base URL, account, model), and the unsupported lanes."""

    def __init__(self) -> None:
        super().__init__()
        self._limiters: LatelyUsed[tuple[str, str, str], Limiter] = LatelyUsed(
            Limiter, on_drop=lambda: self.keep(self._limiters)
        )

    def limiter(self, base_url: str, account: str, model: str, now: float) -> Limiter:
        """The limiter that all calls of an account and model share; made at first use."""
        return self._limiters.of((base_url, account, model), now)

    def shut_for(self, key: LaneKey, now: float) -> float:
        """Seconds until the server allows requests on the lane (0: now; infinity: unsupported)."""
        if self.is_unsupported(key):
            return math.inf
        limiter = self._limiters.get(key[:3])
        return 0.0 if limiter is None else limiter.shut_for(key.lane, now)

    def limiters(self) -> list[tuple[tuple[str, str, str], Limiter]]:
        """Every limiter, and the base URL, account and model that it belongs to."""
        return list(self._limiters.items())

    def reset(self) -> None:
        """Clear everything, as in a new process. Calls under way end at their old limiters."""
        self._limiters.reset()
        self.clear()


CAPACITY = LimiterRegistry()
"""The registry of this process."""


after_fork_in_child(CAPACITY.reset)  # the waiting calls are the parent's
