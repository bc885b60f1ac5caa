"""Requests for one background response: create, poll, cancel; and the parsed responses."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import openai

from flextier._openai.compat import RAW_RESPONSE_HEADER, FinalRequestOptions, is_given, new_request
from flextier._openai.request_options import attempt_options
from flextier.errors import MalformedAnswerError
from flextier.lanes import Lane

# Seconds. Polls and cancellations are answered at once; a creation sends its whole input.
_QUICK, _CREATION = 30.0, 120.0
_CONNECTING = 10.0
# A request made after its time is up still gets a short chance.
_LEAST = 0.1

ENDED = frozenset({"completed", "failed", "incomplete", "cancelled"})
"""The statuses of a response that has ended."""

PENDING = frozenset({"queued", "in_progress"})
"""The statuses before the end. Any other status is unknown, and counts as in progress."""


@dataclass(frozen=True, slots=True)
class RawRequest:
    """A step: make this request, and return its raw HTTP response."""

    options: Any
    whole: bool = False
    """Whether it completes even if the call is cancelled, as it creates something."""
    seconds: float = math.inf
    """The most seconds that it may take in total."""


@dataclass(frozen=True, slots=True)
class PolledResponse:
    """The state of a background response, as polled."""

    id: str
    status: str
    body: dict[str, Any]
    """The ``response`` object; before its end only ``store``, as thousands may be pending."""
    content: bytes
    """The same as JSON; before its end, nothing."""
    request_id: str | None

    @property
    def ended(self) -> bool:
        """Whether the response has ended."""
        return self.status in ENDED

    @property
    def held(self) -> bool:
        """Whether it was answered directly, by a server that has no background mode."""
        return self.body.get("background") is False

    @property
    def stored(self) -> bool:
        """Whether the server keeps it after its end for more than minutes."""
        return self.body.get("store") is not False


class BackgroundRequests:
    """Requests made from a call's SDK options, each with a limit in ``seconds``."""

    __slots__ = ("_options", "_query")

    def __init__(self, options: Any) -> None:
        self._options = options
        self._query = options.url.partition("?")[2]

    def create(self, lane: Lane, run: str | None, seconds: float) -> RawRequest:
        """Create the response; ``run`` is the continuation id."""
        limit = max(seconds, _LEAST)
        options = attempt_options(
            self._options,
            tier=lane.service_tier,
            timeout=_timeout(_CREATION, limit),
            plain=True,
            on_read=lambda answer: None,
            fields=lane.fields(run),
        )
        return RawRequest(options, whole=True, seconds=limit)

    def look(self, name: str, seconds: float) -> RawRequest:
        """Poll the response."""
        return self._about(seconds, name, "get")

    def cancel(self, name: str, seconds: float) -> RawRequest:
        """Cancel the response; one that has ended is unchanged."""
        return self._about(seconds, name, "post", "/cancel")

    def _about(self, seconds: float, name: str, method: str, verb: str = "") -> RawRequest:
        limit = min(max(seconds, _LEAST), _QUICK)
        given = self._options.headers if is_given(self._options.headers) else {}
        query = f"?{self._query}" if self._query else ""
        # Headers of the call may carry its account: an organization, or a gateway's key.
        options = FinalRequestOptions.construct(
            method=method,
            url=f"/responses/{name}{verb}{query}",
            params=self._options.params,
            headers={**given, RAW_RESPONSE_HEADER: "true"},
            timeout=_timeout(_QUICK, limit),
            max_retries=0,
        )
        return RawRequest(options, seconds=limit)


def _timeout(usual: float, limit: float) -> Any:
    """The SDK's timeout: for HTTP clients of the caller's, which know no other limit."""
    return openai.Timeout(min(usual, limit), connect=min(_CONNECTING, limit))


def polled(response: Any) -> PolledResponse:
    """The state of a background response, from an HTTP response.

    Raises:
        MalformedAnswerError: it has no such state.
    """
    content = response.content
    try:
        body = json.loads(content)
    except ValueError as error:
        raise _unreadable(f"the response is truncated or not JSON: {error}") from error
    name, status = (body.get("id"), body.get("status")) if isinstance(body, dict) else (None, None)
    if not isinstance(name, str) or not isinstance(status, str):
        raise _unreadable(f"expected a background response, but got {content[:80]!r}")
    request_id = response.headers.get("x-request-id")
    if status not in ENDED:
        return PolledResponse(name, status, {"store": body.get("store")}, b"", request_id)
    return PolledResponse(name, status, body, content, request_id)


def _unreadable(message: str) -> MalformedAnswerError:
    request = new_request("https://api.openai.com/v1/responses")
    return MalformedAnswerError(message=message, request=request)
