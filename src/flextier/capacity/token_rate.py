"""Slows requests down after a limit of tokens per minute was hit, and speeds up again at once.

Pure: no clock, no lock, no I/O. All moments are seconds on the callers' clock.
"""

from __future__ import annotations

import math

_WAVE = 1.0
_CALM = 10.0
_SLOWEST = 0.5


class TokenRate:
    """Requests a second after a refusal for tokens, which says nothing of how many may be sent.

    Half of what was sent before, from the moment that the server names; twice as many for each
    second without a refusal, so that one refusal costs little.
    """

    __slots__ = ("_last_limited", "_next", "_rate", "until")

    def __init__(self) -> None:
        self.until = 0.0
        """No request before this moment: the wait that the server asked for."""
        self._rate = 0.0
        self._next = 0.0
        self._last_limited = 0.0

    @property
    def on(self) -> bool:
        """Whether requests are slowed down."""
        return self._rate > 0

    def next_chance(self) -> float:
        """The first moment at which a request may be sent."""
        return max(self._next, self.until) if self.on else 0.0

    def sent(self, now: float) -> None:
        """Record a request that was sent."""
        if not self.on:
            return
        if now - self.until > _CALM:
            self.clear()
        else:
            self._next = max(self._next, now) + 1 / self._rate_at(now)

    def limited(self, now: float, wait: float, recent: float, sustained: float) -> None:
        """Record a refusal; ``recent`` and ``sustained``: the requests a second of late, and those
        that the limit is known to bear (0: unknown)."""
        if not self.on or now - self._last_limited > _WAVE:  # else of the same burst
            before = min(recent, self._rate_at(now)) if self.on else recent
            self._rate = max(before / 2, sustained, _SLOWEST)
            self._last_limited = now
        self.until = max(self.until, now + wait)

    def clear(self) -> None:
        """Stop slowing down: the server has reported that enough is left."""
        self._rate = self._next = 0.0

    def _rate_at(self, now: float) -> float:
        return self._rate * math.pow(2, max(0.0, now - self.until))
