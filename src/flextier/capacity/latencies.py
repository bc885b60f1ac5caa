"""Latencies of the last responses on a lane, and their quantiles."""

from __future__ import annotations

from collections import deque

KEPT = 100
"""Responses that count: the last ones."""

ENOUGH = 20
"""Fewer responses than this give no quantile."""


class Latencies:
    """Seconds that the last :data:`KEPT` responses took, and their quantiles."""

    __slots__ = ("_last", "_sorted")

    def __init__(self) -> None:
        self._last: deque[tuple[float, float]] = deque(maxlen=KEPT)
        self._sorted: list[float] | None = None

    def add(self, sent_at: float, seconds: float) -> None:
        """Add a response: when its request was sent, and the seconds that it took."""
        self._last.append((sent_at, seconds))
        self._sorted = None

    def __len__(self) -> int:
        return len(self._last)

    def quantile(self, share: float) -> float | None:
        """Seconds within which ``share`` of the responses came; None: too few responses."""
        if len(self._last) < ENOUGH:
            return None
        if self._sorted is None:
            self._sorted = sorted(seconds for _, seconds in self._last)
        return self._sorted[min(len(self._sorted) - 1, int(share * len(self._sorted)))]

    def longest_since(self, moment: float) -> float | None:
        """The longest latency of requests sent since ``moment``; None: too few responses."""
        since = [seconds for sent_at, seconds in self._last if sent_at >= moment]
        return max(since) if len(since) >= ENOUGH else None
