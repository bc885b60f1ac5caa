"""When the next request may be sent under the limits per minute that all lanes of a model share.

Pure: no clock, no lock, no I/O. All moments are seconds on the callers' clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from flextier.capacity.rate_bucket import RateBucket, RateLimit
from flextier.capacity.request_rate import RequestRate
from flextier.capacity.token_rate import TokenRate

_MOST = 0.9

_REFUSED = 1.15
"""Requests that calls need on average where flex is full: refused ones count in the limits, too."""


_STOP, _SPARE = 5.0, 0.2
"""Seconds, and that share of the seconds needed, for a rate limit that is hit on the way: nothing
is sent for as long as the server asks for."""


class Pacing:
    """The limits of requests and of tokens, as far as responses have shown them.

    A limit that responses state in their headers is not exceeded in the first place. Else a refusal
    shows it: for requests, they are spaced out as the last minute allows; for tokens, they slow
    down for a few seconds.
    """

    __slots__ = (
        "_buckets", "_limited_at", "_reported", "_sent_at", "on", "requests", "sent_count",
        "tokens", "unrecorded",
    )  # fmt: skip

    def __init__(self) -> None:
        self.requests = RequestRate()
        self.tokens = TokenRate()
        self._buckets = {"requests": RateBucket(1.0), "tokens": RateBucket()}
        self._reported: list[RateBucket] = []
        self.sent_count = 0
        """Requests that were sent, in all."""
        self.on = False
        """Whether a limit is known."""
        self.unrecorded: list[float] = []
        """When requests were sent while no limit was known, and not recorded yet."""
        self._sent_at = 0.0
        self._limited_at = -1.0

    @property
    def until(self) -> float:
        """No request before this moment: the wait that the server asked for."""
        return max(self.requests.until, self.tokens.until)

    def _changed(self) -> None:
        self.on = bool(self._reported) or self.requests.on or self.tokens.on

    def record(self) -> None:
        """Record the requests that were only noted, as no limit was known."""
        for moment in self.unrecorded:
            self.requests.sent(moment)
            self._sent_at = moment
        self.unrecorded.clear()

    def may_send(self, now: float) -> bool:
        """Whether a request may be sent now."""
        return not self.on or self.next_chance() <= now

    def next_chance(self) -> float:
        """The first moment at which a request may be sent."""
        limited = max(self.requests.next_chance(), self.tokens.next_chance())
        return max([limited, *(bucket.next_chance() for bucket in self._reported)])

    def seconds_for(self, requests: int, now: float) -> float:
        """Seconds in which that many requests can surely be sent; 0: no limit is known."""
        tokens, sent = self._buckets["tokens"], math.ceil(_REFUSED * requests)
        needed = [b.seconds_for(requests if b is tokens else sent, now) for b in self._reported]
        return max([self.requests.seconds_for(sent, now), *needed])

    @property
    def next_evenly(self) -> float:
        """When the next request is due if requests are spread over the time that they need."""
        intervals = [bucket.interval for bucket in self._reported]
        return self._sent_at + max([self.requests.interval, *intervals])

    def leave_by(self, next_by: float, waiting: int, now: float) -> float:
        """When the most urgent of the waiting calls leaves for another lane, where it must be at
        ``next_by``: under a limit, early enough for all to be sent one after the other by then.
        """
        if not self.on or next_by == math.inf:
            return math.inf
        seconds = self.seconds_for(waiting, now)
        leave = next_by - seconds - min(_STOP, _SPARE * seconds)
        if leave < next_by:
            # Not all at once: what is left of the limit serves this lane's own requests, too.
            leave = max(leave, self.next_evenly)
        return max(leave, self.next_chance())

    def sent(self, now: float) -> int:
        """Record a request that is sent; return its number, in the order of sending."""
        self.record()
        self.requests.sent(now)
        if self.tokens.on:
            self.tokens.sent(now)
            self._changed()
        for bucket in self._reported:
            bucket.sent(now)
        self._sent_at = now
        self.sent_count += 1
        return self.sent_count

    def reported(
        self, limits: Iterable[RateLimit], number: int, sent_at: float, now: float
    ) -> None:
        """Record the limits that a response states in its headers, by the number of its request."""
        self.record()
        for limit in limits:
            bucket = self._buckets[limit.unit]
            bucket.report(limit, number, sent_at, self.sent_count - number, now)
            if bucket not in self._reported:
                self._reported.append(bucket)
            enough = bucket.cost and bucket.next_chance() <= now
            if limit.unit == "tokens" and enough and sent_at > self._limited_at:
                self.tokens.clear()
        self._changed()

    def limited(
        self, now: float, wait: float, refused: RateLimit, number: int, sent_at: float
    ) -> None:
        """Record a rate limit that request ``number`` has hit; ``wait``: what the server asks for,
        0: nothing."""
        self.record()
        bucket = self._buckets[refused.unit]
        # What refusals alone state is not enough: it could not be seen that more is left by now.
        expected = bucket in self._reported and bucket.next_chance() > now
        later = bucket.cost * max(0, self.sent_count - number)
        overdrawn = expected and bucket.left(sent_at) + later < -0.5 * bucket.cost
        if bucket in self._reported and None not in (refused.remaining, refused.refill):
            bucket.report(refused, number, sent_at, self.sent_count - number, now)
        if refused.unit == "requests":
            self._requests_limited(now, wait, overdrawn, refused)
        else:
            self._tokens_limited(now, wait, expected, refused)
        self._changed()

    def _requests_limited(
        self, now: float, wait: float, overdrawn: bool, refused: RateLimit
    ) -> None:
        bucket, requests = self._buckets["requests"], self.requests
        if bucket not in self._reported:
            requests.limited(now, wait, 60 * (refused.refill or 0.0) or refused.limit or 0.0)
        elif overdrawn or requests.limit is not None:
            requests.wait_until(now + wait)
        elif requests.last_minute < _MOST * bucket.limit:
            # Another limit, which no header states; or it counts seconds, not minutes.
            requests.limited(now, wait, 60 / bucket.interval)
        else:
            # It does not refill evenly: the server counts the requests of the last minute.
            requests.limit_minute(bucket.limit)
            requests.wait_until(now + wait)

    def _tokens_limited(self, now: float, wait: float, expected: bool, refused: RateLimit) -> None:
        bucket = self._buckets["tokens"]
        self.requests.not_admitted(now)
        bucket.cost = bucket.cost or refused.requested or 0.0
        if expected or (bucket in self._reported and bucket.next_chance() > now):
            return  # requests wait until enough is left
        sustained = refused.refill / bucket.cost if refused.refill and bucket.cost else 0.0
        self._limited_at = now
        self.tokens.limited(now, wait, self.requests.recent(now), sustained)

    def relax(self, now: float) -> None:
        """Drop a request rate that was not limited for a minute; called when no call waits."""
        if self.requests.on:
            self.requests.relax(now)
            self._changed()
