"""Requests of the last minute, by account and model: what a limit per minute counts."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Sequence
from math import ceil

from flextier.sim.base import api_errors
from flextier.sim.base.api_errors import ErrorReply

MINUTE = 60.0


class RecentRequests:
    """When the requests of the last 60 seconds arrived. Times are the caller's, in seconds."""

    def __init__(self) -> None:
        self._arrivals: defaultdict[tuple[str, str], deque[float]] = defaultdict(deque)

    def before(self, account: str, model: str, now: float) -> Sequence[float]:
        """The arrivals of the last minute, oldest first, those of this moment included."""
        arrivals = self._arrivals[account, model]
        while arrivals and arrivals[0] <= now - MINUTE:
            arrivals.popleft()
        return arrivals

    def arrive(self, account: str, model: str, now: float) -> None:
        """One more request, whatever becomes of it: refused ones count, too."""
        self._arrivals[account, model].append(now)


def share_of(limit: int, window: float) -> int:
    """The requests in any ``window`` seconds, of a limit a minute; one at least."""
    return max(1, round(limit * window / MINUTE))


def room_in(
    recent: Sequence[float], limit: int, now: float, window: float = MINUTE
) -> float | None:
    """Seconds until a request fits if one sent now does not; None: this one does.

    The one that does not fit counts in the window after it, as OpenAI's guide says of
    unsuccessful requests.

    Args:
        recent: The arrivals of the last minute, oldest first, without this one.
        limit: Requests a minute.
        now: The moment.
        window: The seconds over which the limit is counted.
    """
    first = bisect_right(recent, now - window)
    over = len(recent) - first - share_of(limit, window)
    if over < 0:
        return None
    return (*recent, now)[first + over + 1] + window - now


def over(
    recent: Sequence[float], limit: int | None, now: float, window: float = MINUTE
) -> ErrorReply | None:
    """The 429 for a request sent now; None: there is room for it, or no limit."""
    wait = None if limit is None else room_in(recent, limit, now, window)
    if limit is None or wait is None:
        return None
    return api_errors.rate_limited(limit).with_headers(
        # Rounded up, so that a client that waits this long is not too early.
        retry_after=ceil(wait),
        retry_after_ms=ceil(wait * 1000),
        x_ratelimit_reset_requests=f"{ceil(wait * 1000) / 1000:g}s",
    )
