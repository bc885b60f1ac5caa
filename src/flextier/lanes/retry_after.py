"""How long the server asks to wait before a retry, and whether it asks for none: its headers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timezone
from email.utils import parsedate_to_datetime

from flextier.lanes.failures import Failure, Kind
from flextier.lanes.rate_limits import seconds_of, stated_wait

_MAX_WAIT = 100 * 86_400.0


def retry_after(failure: Failure, kind: Kind, wall: float) -> float | None:
    """Seconds that the server asks to wait before the next attempt; None: it states no valid wait.

    Reads ``retry-after-ms``, then ``retry-after`` (seconds or an HTTP date, against ``wall``, the
    time since the epoch), then, for rate limits, the message ("try again in 976ms") and
    ``x-ratelimit-reset-*``. Zero, negative, past, infinite and malformed values are ignored; more
    than 100 days count as 100 days.
    """
    headers = failure.headers
    for seconds in (
        positive_seconds(headers.get("retry-after-ms"), 0.001),
        positive_seconds(headers.get("retry-after"), 1.0),
        _date(headers.get("retry-after"), wall),
        stated_wait(failure.message) if kind == "rate_limited" else None,
        _rate_limit_reset(headers) if kind == "rate_limited" else None,
    ):
        if seconds is not None:
            return min(seconds, _MAX_WAIT)
    return None


def retry_forbidden(failure: Failure) -> bool:
    """Whether the server forbids a retry (``x-should-retry: false``)."""
    return failure.headers.get("x-should-retry") == "false"


def positive_seconds(text: str | None, unit: float) -> float | None:
    """A header's number of ``unit`` seconds; None: it is no number above 0."""
    try:
        seconds = float(text or "") * unit
    except ValueError:
        return None
    return seconds if 0 < seconds < math.inf else None


def _date(text: str | None, wall: float) -> float | None:
    try:
        date = parsedate_to_datetime(text or "")
        # HTTP dates are GMT: one without a zone is not in this machine's.
        date = date if date.tzinfo else date.replace(tzinfo=timezone.utc)
        seconds = date.timestamp() - wall
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if seconds > 0 else None


def _rate_limit_reset(headers: Mapping[str, str]) -> float | None:
    """The longest reset among the limits that are used up (``6m0s``, ``20ms``)."""
    waits = [
        seconds_of(headers.get(f"x-ratelimit-reset-{limit}", ""))
        for limit in ("requests", "tokens")
        if headers.get(f"x-ratelimit-remaining-{limit}", "0") == "0"
    ]
    return max(waits, default=0.0) or None
