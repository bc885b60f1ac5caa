"""What went wrong with an attempt, as plain facts, and what kind of failure that is.

Nothing here knows HTTP or the SDK: an edge turns its exception into a :class:`Failure`,
and :func:`classify` answers with one of the kinds of the failure table (docs/failures.md).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import Literal, Protocol

Kind = Literal[
    "capacity",
    "rate_limited",
    "quota",
    "timeout",
    "transient",
    "lane_unsupported",
    "stream_unverified",
    "rejected",
]
"""The failure kinds; also the ``outcome`` of an attempt that failed."""

Fault = Literal["timeout", "connection", "malformed"]
"""A failure below the API: no answer in time, connection lost, answer not readable."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The facts of one failed attempt.

    ``status`` is None when there was no HTTP error status: a :data:`Fault`, or an error event
    inside a stream. Header names are looked up in lower case.
    """

    status: int | None = None
    code: str | None = None
    type: str | None = None
    param: str | None = None
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    fault: Fault | None = None
    request_id: str | None = None


class Refusals(Protocol):
    """What a lane knows of its own refusals (see ``flextier.lanes``)."""

    @property
    def patient(self) -> bool:
        """Whether the lane may be out of capacity for a while: worth waiting for."""

    def refuses(self, failure: Failure) -> bool:
        """Whether the failure says that this lane has no capacity now."""

    def unsupported(self, failure: Failure) -> bool:
        """Whether the failure says that this lane is not for this model or project."""


# 429 answers that no waiting cures: the account may not spend more.
# https://platform.openai.com/docs/guides/error-codes
_QUOTA_CODES = frozenset(
    {
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "spend_limit_reached",
        "usage_limit_reached",
        "quota_exceeded",
        "insufficient_funds",
    }
)
# OpenAI puts the exhausted limit into `type` ("requests", "tokens") and the reason into `code`.
_RATE_LIMIT_CODES = frozenset(
    {"rate_limit_exceeded", "rate_limit_error", "requests", "tokens", "too_many_requests"}
)
_SERVER_CODES = frozenset(
    {"server_error", "internal_error", "internal_server_error", "overloaded", "service_unavailable"}
)
_SHORTAGE = re.compile("unavailable|overloaded|capacity")
_UNVERIFIED = re.compile(r"must be verified to stream", re.IGNORECASE)


def classify(failure: Failure, lane: Refusals) -> Kind:
    """The kind of ``failure``, had on ``lane``. Codes decide before status, status before text."""
    if failure.fault is not None:
        return "timeout" if failure.fault == "timeout" else "transient"
    if failure.status is None or failure.status == 429:
        return _classify_throttle(failure, lane)
    if lane.unsupported(failure):
        return "lane_unsupported"
    if lane.refuses(failure):
        return "capacity"
    if failure.status == 408:
        return "timeout"
    if failure.status == 409 or failure.status >= 500:
        return "transient"
    if failure.status == 400 and _stream_unverified(failure):
        return "stream_unverified"
    return "rejected"


def _classify_throttle(failure: Failure, lane: Refusals) -> Kind:
    """A 429, or an error event inside a stream, which carries the same codes without a status."""
    names = {failure.code, failure.type}
    if names & _QUOTA_CODES:
        return "quota"
    if lane.refuses(failure):
        return "capacity" if lane.patient else "rate_limited"
    if names & _RATE_LIMIT_CODES:
        return "rate_limited"
    if failure.status == 429:
        return "capacity" if lane.patient else "rate_limited"
    if names & _SERVER_CODES or names == {None}:
        return "transient"
    if any(_SHORTAGE.search(name) for name in names if name):
        return "rate_limited"
    return "rejected"


def _stream_unverified(failure: Failure) -> bool:
    if failure.code == "unsupported_value" and failure.param == "stream":
        return True
    return _UNVERIFIED.search(failure.message) is not None


def server_wait(failure: Failure, kind: Kind, wall: float) -> float | None:
    """Seconds the server asks to wait before the next try, or None if it says nothing usable.

    Reads ``retry-after-ms``, then ``retry-after`` (seconds or an HTTP date, against ``wall``, the
    time since the epoch), then, for rate limits, ``x-ratelimit-reset-*``. Zero, negative, past,
    infinite and unreadable values count as nothing said.
    """
    headers = failure.headers
    for seconds in (
        _number(headers.get("retry-after-ms"), 0.001),
        _number(headers.get("retry-after"), 1.0),
        _date(headers.get("retry-after"), wall),
    ):
        if seconds is not None:
            return seconds
    return _rate_limit_reset(headers) if kind == "rate_limited" else None


def should_retry(failure: Failure) -> bool | None:
    """The server's ``x-should-retry``: True, False, or None when it does not say."""
    return {"true": True, "false": False}.get(failure.headers.get("x-should-retry", ""))


def _number(text: str | None, unit: float) -> float | None:
    try:
        seconds = float(text or "") * unit
    except ValueError:
        return None
    return seconds if 0 < seconds < math.inf else None


def _date(text: str | None, wall: float) -> float | None:
    try:
        date = parsedate_to_datetime(text or "")
        # HTTP dates are GMT; one that does not say so is not meant in this machine's zone.
        date = date if date.tzinfo else date.replace(tzinfo=timezone.utc)
        seconds = date.timestamp() - wall
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if seconds > 0 else None


_SPAN = re.compile(r"(\d{1,9}(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_SPANS = re.compile(f"({_SPAN.pattern})+", re.ASCII)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _rate_limit_reset(headers: Mapping[str, str]) -> float | None:
    """The longest reset among the limits that are used up (``6m0s``, ``20ms``)."""
    waits = [
        _span(headers.get(f"x-ratelimit-reset-{limit}", ""))
        for limit in ("requests", "tokens")
        if headers.get(f"x-ratelimit-remaining-{limit}", "0") == "0"
    ]
    return max(waits, default=0.0) or None


def _span(text: str) -> float:
    if not _SPANS.fullmatch(text):
        return 0.0
    parts: list[tuple[str, str]] = _SPAN.findall(text)
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
