"""Paces requests after a rate limit (429), which the lanes of one model share.

Pure: no clock, no lock, no I/O. All moments are seconds on the callers' clock.
"""

from __future__ import annotations

from collections import deque

_MINUTE = 60
_RECENT = 5
_HEADROOM = 1.05
_SLOWER = 1.2
_FASTER, _CALM = 0.95, 10.0
_WAVE = 1.0

_TELLING = 10
_GUESS_LEAST, _GUESS_MOST, _GUESS_FASTER, _GUESS_SLOWER = 0.05, 2.0, 0.98, 1.5


class RequestRate:
    """No pacing until the server refuses with a rate limit; from then on, requests are spaced out.

    Refused requests count against the limit, too, so hitting it again and again would block all
    calls. The rate is what the server admitted in the minute before. Where that is too little to
    estimate from (others use up the limit), one request per wait that the server asks for, a
    little faster each time.
    """

    __slots__ = (
        "_calm_since", "_guessed", "_last_limited", "_next", "_seconds", "interval", "last_minute",
        "limit", "until",
    )  # fmt: skip

    def __init__(self) -> None:
        self.until = 0.0
        """No request before this moment: the server's Retry-After."""
        self.interval = 0.0
        """Seconds from one request to the next; 0: no limit is known."""
        self.limit: float | None = None
        """Requests in any 60 seconds that the server states; replaces the interval."""
        self.last_minute = 0
        """Requests that were sent in the last minute, and not refused."""
        self._next = 0.0
        self._last_limited = -float(_MINUTE)
        self._calm_since = 0.0
        self._guessed = False
        self._seconds: deque[list[int]] = deque()

    @property
    def on(self) -> bool:
        """Whether requests are spaced out."""
        return self.interval > 0 or self.limit is not None

    def may_send(self, now: float) -> bool:
        """Whether a request may be sent now."""
        return self.next_chance() <= now

    def next_chance(self) -> float:
        """The first moment at which a request may be sent."""
        return max(self._next, self.until) if self.on else 0.0

    def sent(self, now: float) -> None:
        """Record a request that was sent."""
        self._count(now, 1)
        if self.limit is not None:
            self._next = self._room_at()
            return
        if not self.on:
            return
        self._next = max(self._next, now) + self.interval
        if self._guessed:
            self.interval *= _GUESS_FASTER
        elif now - self._calm_since > _CALM:
            self._calm_since = now
            self.interval *= _FASTER

    def not_admitted(self, now: float) -> None:
        """Do not count a request that was sent: the server refused it."""
        self._count(now, -1)

    def recent(self, now: float) -> float:
        """Requests a second that were admitted in the last few seconds."""
        recent = [entry for entry in self._seconds if entry[0] > now - _RECENT]
        if not recent:
            return 0.0
        return sum(count for _, count in recent) / max(1.0, now - recent[0][0])

    def limited(self, now: float, wait: float, stated: float = 0.0) -> None:
        """Record a rate limit; ``wait`` is what the server asks for (0: nothing), ``stated`` its
        limit of requests a minute (0: unknown).

        A server may count seconds instead: 1,200 a minute are then 20 in any second.
        """
        self.not_admitted(now)
        recent = (count for second, count in self._seconds if second > now - _RECENT)
        fastest, through = _MINUTE * max(recent, default=0), float(self.last_minute)
        # Else room comes when the first request of the last minute is a minute old.
        soon = 2 * wait < self._seconds[0][0] + _MINUTE - now
        if soon and 2 * fastest >= stated:
            through = max(through, min(fastest, stated or fastest))
        self._guessed = through < _TELLING or (soon and not stated)
        if now - self._last_limited > _WAVE:  # else: of the same burst as the refusal before
            self.interval *= _GUESS_SLOWER if self._guessed else _SLOWER
        # A short wait is for room for one request, a long one for the minute to be over.
        room = wait if through < _TELLING else _HEADROOM * _MINUTE / through
        self.interval = max(self.interval, min(room, wait) if wait else room)
        if self._guessed:
            self.interval = min(max(self.interval, _GUESS_LEAST), _GUESS_MOST)
        self._last_limited = self._calm_since = now
        self.wait_until(now + wait)

    def wait_until(self, moment: float) -> None:
        """Send nothing before a moment that the server named."""
        self.until = max(self.until, moment)

    def limit_minute(self, limit: float) -> None:
        """Keep to a limit of requests in any 60 seconds, from now on."""
        self.limit, self.interval = limit, 0.0
        self._next = self._room_at()

    def seconds_for(self, requests: int, now: float) -> float:
        """Seconds in which that many requests can surely be sent; 0: no limit is known."""
        if self.limit is None:
            return requests * self.interval
        return max(0.0, self._room_at(requests) - now)

    def _room_at(self, requests: int = 1) -> float:
        """When the last minute has room for that many requests more."""
        limit = self.limit or 1
        over = self.last_minute + requests - 1 - limit
        if over < 0:
            return 0.0
        second = 0
        for second, count in self._seconds:
            over -= count
            if over < 0:
                return second + _MINUTE + 1.0
        return second + _MINUTE * (1 + over / limit) + 1.0

    def relax(self, now: float) -> None:
        """Drop a limit that was not hit for a minute; called when no call waits."""
        if now - self._last_limited > _MINUTE and now >= self.until:
            self.interval = 0.0

    def _count(self, now: float, change: int) -> None:
        second = int(now)
        seconds = self._seconds
        self.last_minute += change
        if seconds and seconds[-1][0] >= second:
            seconds[-1][1] += change
        else:
            seconds.append([second, change])
            while seconds[0][0] < second - _MINUTE:  # its last request may be 60 s old only now
                self.last_minute -= seconds.popleft()[1]
