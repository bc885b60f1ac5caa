"""What went wrong with an attempt, as plain facts, and what kind of failure that is.

Nothing here knows HTTP or the SDK: an edge turns its exception into a :class:`Failure`,
and :func:`classify` answers with one of the kinds of the failure table (docs/failures.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from flextier.lanes.rate_limits import exceeds_limit

if TYPE_CHECKING:
    from flextier.lanes.base import Lane

Kind = Literal[
    "capacity",
    "rate_limited",
    "quota",
    "timeout",
    "transient",
    "lane_unsupported",
    "stream_unverified",
    "unfinished",
    "rejected",
]
"""The failure kinds; also the ``outcome`` of an attempt that failed."""

PERMANENT: frozenset[Kind] = frozenset(
    {"rejected", "quota", "lane_unsupported", "stream_unverified"}
)
"""Kinds that a retry of the same request would meet again."""

Fault = Literal["timeout", "connection", "malformed", "unfinished"]
"""A failure below the API: no answer in time, connection lost, answer not readable, or a batch or a
background response that ended, or was left, without the call's answer."""


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
    sent: bool = True
    """Whether the request can have reached the server: not, if no connection was made."""
    request_id: str | None = None


# 429s for which waiting does not help: the account may not spend more. OpenAI has many codes for it
# (`insufficient_quota`, `billing_hard_limit_reached`, `project_spend_limit_exceeded`, …).
# https://platform.openai.com/docs/guides/error-codes
_QUOTA = re.compile("quota|billing|spend|credit|usage_limit|budget|funds")
# OpenAI puts the exhausted limit into `type` ("requests", "tokens") and the reason into `code`.
_RATE_LIMIT = re.compile("rate_limit|^requests$|^tokens$|too_many_requests")
# Codes and types of error events in a stream, which have no status.
_TIMEOUT = re.compile("^request_timeout$")
_SERVER = re.compile("server_error|internal|overloaded|connection_failed|_timeout$|^service_unav")
_SHORTAGE = re.compile("unavailable|capacity")
_UNVERIFIED = re.compile(r"must be verified to stream", re.IGNORECASE)


_FAULTS: dict[Fault, Kind] = {"timeout": "timeout", "unfinished": "unfinished"}


def classify(failure: Failure, lane: Lane) -> Kind:
    """The kind of ``failure``, on ``lane``. Codes decide before status, status before text."""
    if failure.fault is not None:
        return _FAULTS.get(failure.fault, "transient")
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
    is_stream = failure.code == "unsupported_value" and failure.param == "stream"
    if failure.status == 400 and (is_stream or _UNVERIFIED.search(failure.message)):
        return "stream_unverified"
    return "rejected"


def _classify_throttle(failure: Failure, lane: Lane) -> Kind:
    """A 429, or an error event inside a stream, which carries the same codes without a status."""
    if _says(failure, _QUOTA):
        return "quota"
    if lane.refuses(failure):
        return "capacity" if lane.queues else "rate_limited"
    if exceeds_limit(failure.message):
        return "rejected"  # the request is larger than the whole limit: it never fits
    if _says(failure, _RATE_LIMIT):
        return "rate_limited"
    if failure.status == 429:
        return "capacity" if lane.queues else "rate_limited"
    return _classify_event(failure, lane)


def _classify_event(failure: Failure, lane: Lane) -> Kind:
    if _says(failure, _TIMEOUT):
        return "timeout"
    if _says(failure, _SERVER):
        return "transient"
    if lane.unsupported(failure):
        return "lane_unsupported"
    if failure.code is None and failure.type is None:
        return "transient"
    return "rate_limited" if _says(failure, _SHORTAGE) else "rejected"


def _says(failure: Failure, words: re.Pattern[str]) -> bool:
    """Whether the error's code or type is one of these."""
    return any(name and words.search(name) for name in (failure.code, failure.type))


_STREAM_OPTIONS = re.compile(r"stream[_ ]options|include_usage", re.IGNORECASE)


def may_reject_stream_options(failure: Failure) -> bool:
    """Whether a request with ``stream_options`` may have been rejected because of them: the failure
    names them, or it names no field at all, as with some gateways."""
    if failure.status in (400, 422) and failure.param is None:
        return True
    if failure.status not in (None, 400, 422):
        return False
    return _STREAM_OPTIONS.search(failure.param or failure.message) is not None
