"""Paces requests after a rate limit (429), which the lanes of one model share.

Pure: no clock, no lock, no I/O. All moments are seconds on the callers' clock.
"""

from __future__ import annotations

from collections import deque

_MINUTE = 60
_HEADROOM = 1.05
_SLOWER = 1.2
_FASTER, _CALM = 0.95, 10.0
_WAVE = 1.0

_TELLING = 10
_GUESS_LEAST, _GUESS_MOST, _GUESS_FASTER = 0.05, 2.0, 0.98


class RequestRate:
    """No pacing until the server refuses with a rate limit; from then on, requests are spaced out.

    Refused requests count against the limit, too, so hitting it again and again would block all
    calls. The rate is what the server admitted in the minute before. Where that is too little to
    estimate from (others use up the limit), one request per wait that the server asks for, a
    little faster each time.
    """

    __slots__ = (
        "_calm_since",
        "_guessed",
        "_last_limited",
        "_next",
        "_seconds",
        "interval",
        "until",
    )

    def __init__(self) -> None:
        self.until = 0.0
        """No request before this moment: the server's Retry-After."""
        self.interval = 0.0
        """Seconds from one request to the next; 0: no limit is known."""
        self._next = 0.0
        self._last_limited = -float(_MINUTE)
        self._calm_since = 0.0
        self._guessed = False
        self._seconds: deque[list[int]] = deque()

    @property
    def on(self) -> bool:
        """Whether requests are spaced out."""
        return self.interval > 0

    def may_send(self, now: float) -> bool:
        """Whether a request may be sent now."""
        return self.interval == 0 or (now >= self._next and now >= self.until)

    def next_chance(self) -> float:
        """The first moment at which a request may be sent."""
        return max(self._next, self.until) if self.on else 0.0

    def sent(self, now: float) -> None:
        """Record a request that was sent."""
        self._count(now, 1)
        if not self.on:
            return
        self._next = max(self._next, now) + self.interval
        if self._guessed:
            self.interval *= _GUESS_FASTER
        elif now - self._calm_since > _CALM:
            self._calm_since = now
            self.interval *= _FASTER

    def limited(self, now: float, wait: float) -> None:
        """Record a rate limit; ``wait`` is what the server asks for (0: nothing)."""
        self._count(now, -1)
        through = sum(count for _, count in self._seconds)
        self._guessed = through < _TELLING
        if self._guessed:
            self.interval = min(max(self.interval, wait, _GUESS_LEAST), _GUESS_MOST)
        else:
            if now - self._last_limited > _WAVE:  # else: of the same burst as the refusal before
                self.interval *= _SLOWER
            # A short wait is for room for one request, a long one for the minute to be over.
            room = _HEADROOM * _MINUTE / through
            self.interval = max(self.interval, min(room, wait) if wait else room)
        self._last_limited = self._calm_since = now
        self.until = max(self.until, now + wait)

    def relax(self, now: float) -> None:
        """Drop a limit that was not hit for a minute; called when no call waits."""
        if now - self._last_limited > _MINUTE and now >= self.until:
            self.interval = 0.0

    def _count(self, now: float, change: int) -> None:
        second = int(now)
        seconds = self._seconds
        if seconds and seconds[-1][0] >= second:
            seconds[-1][1] += change
        else:
            seconds.append([second, change])
            while seconds[0][0] <= second - _MINUTE:
                seconds.popleft()
