"""The provider's time of day, which may run faster than the tester's."""

from __future__ import annotations

import time
from collections.abc import Callable


class ProviderClock:
    """Seconds since the epoch as the simulated provider has them.

    Starts at the real time of day and goes on with the world's clock, ``speed`` times as fast.

    Args:
        clock: The world's clock, in seconds from any start.
        speed: Seconds of the provider in one second of the world's clock.
    """

    def __init__(self, clock: Callable[[], float], speed: float) -> None:
        self._clock = clock
        self.speed = speed
        self._epoch = time.time()
        self._start = clock()

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._epoch + (self._clock() - self._start) * self.speed
