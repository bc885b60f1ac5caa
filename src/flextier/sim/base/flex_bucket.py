"""A flex lane that follows the rate of its requests: what it has admitted comes back evenly."""

from __future__ import annotations

Bucket = tuple[float, float]
"""Requests that come back each second, and the most that are admitted at once."""

_INSTANT = 1e-9  # seconds that do not count: clocks round


class FlexBuckets:
    """What every pool of models has used of its bucket. Times are the caller's, in seconds."""

    def __init__(self) -> None:
        self._used: dict[str, tuple[float, float]] = {}

    def used(self, pool: str, bucket: Bucket | None, now: float) -> float:
        """The requests in use now; 0 without a bucket."""
        if bucket is None:
            return 0.0
        used, then = self._used.get(pool, (0.0, now))
        return max(0.0, used - (now - then) * bucket[0])

    def take(self, pool: str, bucket: Bucket | None, now: float) -> None:
        """Use one; a refused request uses none."""
        if bucket is not None:
            self._used[pool] = self.used(pool, bucket, now) + 1, now


def has_room(bucket: Bucket | None, used: float) -> bool:
    """Whether one more request fits."""
    return bucket is None or used + 1 <= bucket[1] + _INSTANT * bucket[0]


def room_in(bucket: Bucket | None, used: float) -> float:
    """Seconds until one more request fits; 0: it does now, or there is no bucket."""
    if bucket is None or has_room(bucket, used):
        return 0.0
    return (used + 1 - bucket[1]) / bucket[0]
