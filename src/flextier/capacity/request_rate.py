"""A request limit that lanes of one model share: how far apart requests may go out.

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
    """Free until the server says that there were too many requests; from then on spaced out.

    Refused requests count against the limit, too, so running against it again and again would
    keep everybody out. The pace is what the server let through in the minute before; where that is
    too little to tell (others use up the limit), one request each time that the server asks to
    wait, faster from one to the next.
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
        """No request before this moment: the server said so."""
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
        """Whether a request may go out now."""
        return self.interval == 0 or (now >= self._next and now >= self.until)

    def next_chance(self) -> float:
        """The first moment at which one may."""
        return max(self._next, self.until) if self.on else 0.0

    def sent(self, now: float) -> None:
        """A request went out."""
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
        """A request was refused by the limit; the server asks to wait so long (0: it does not)."""
        self._count(now, -1)
        through = sum(count for _, count in self._seconds)
        self._guessed = through < _TELLING
        if self._guessed:
            self.interval = min(max(self.interval, wait, _GUESS_LEAST), _GUESS_MOST)
        else:
            if now - self._last_limited > _WAVE:  # else: of the same wave as the one before
                self.interval *= _SLOWER
            # A short wait is for room for one request, a long one for the minute to be over.
            room = _HEADROOM * _MINUTE / through
            self.interval = max(self.interval, min(room, wait) if wait else room)
        self._last_limited = self._calm_since = now
        self.until = max(self.until, now + wait)

    def relax(self, now: float) -> None:
        """Nobody waits: a limit that was not met for a minute is no more to be thought of."""
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
