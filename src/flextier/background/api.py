"""Requests for one background response: create, poll, cancel; and the parsed responses."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from flextier._openai import public_names as openai
from flextier._openai.http_library import new_request
from flextier._openai.private_names import RAW_RESPONSE_HEADER, FinalRequestOptions, is_given
from flextier._openai.request_with_tier import attempt_options
from flextier.calls.answer import why_unreadable
from flextier.errors import MalformedAnswerError
from flextier.lanes import Lane
from flextier.lanes.retry_after import positive_seconds

# Timeouts in seconds. Polls and cancellations are answered at once; a creation sends all its input.
_POLL_TIMEOUT, _CREATE_TIMEOUT, _CONNECT_TIMEOUT = 30.0, 120.0, 10.0
_MIN_TIMEOUT = 0.1
"""Of a request that is made although no time is left."""

ENDED = frozenset({"completed", "failed", "incomplete", "cancelled"})
"""The statuses of a response that has ended."""

PENDING = frozenset({"queued", "in_progress"})
"""The statuses before the end. Any other status is unknown, and counts as in progress."""


@dataclass(frozen=True, slots=True)
class RawRequest:
    """A step: make this request, and return its raw HTTP response."""

    options: Any
    shielded: bool = False
    """Whether it completes even if the call is cancelled, as it creates something."""
    seconds: float = math.inf
    """The most seconds that it may take in total."""


@dataclass(frozen=True, slots=True)
class PolledResponse:
    """The state of a background response, as polled."""

    id: str
    status: str
    body: dict[str, Any]
    """The ``response`` object; before its end only ``store``: thousands may be pending."""
    content: bytes
    """The same as JSON; empty before its end."""
    request_id: str | None
    poll_after: float = 0.0
    """Seconds that the server asks to wait before the next poll; 0: it asks for none."""

    @property
    def ended(self) -> bool:
        """Whether the response has ended."""
        return self.status in ENDED

    def check_output(self) -> None:
        """Raise a ``MalformedAnswerError`` if a response that is complete has no output."""
        complete = self.status in ("completed", "incomplete")
        if complete and (why := why_unreadable("/responses", self.body)):
            raise _unreadable(f"the response is {self.status}, but no answer: {why}")

    @property
    def answered_directly(self) -> bool:
        """Whether the server has no background mode, and answered the creation itself."""
        return self.body.get("background") is False

    @property
    def stored(self) -> bool:
        """Whether the server keeps it; otherwise it is deleted about ten minutes after its end."""
        return self.body.get("store") is not False


@dataclass(frozen=True, slots=True)
class BackgroundRequests:
    """Requests made from a call's SDK options, each with a limit in ``seconds``."""

    options: Any
    tier: str
    """The service tier of the creation."""

    def create(self, lane: Lane, run_id: str | None, seconds: float) -> RawRequest:
        """Create the response; ``run_id`` is the continuation id."""
        limit = max(seconds, _MIN_TIMEOUT)
        options = attempt_options(
            self.options,
            tier=self.tier,
            timeout=_timeout(_CREATE_TIMEOUT, limit),
            plain=True,
            fields=lane.fields(run_id),
        )
        return RawRequest(options, shielded=True, seconds=limit)

    def poll(self, response_id: str, seconds: float) -> RawRequest:
        """Poll the response."""
        return self._request(seconds, response_id, "get")

    def cancel(self, response_id: str, seconds: float) -> RawRequest:
        """Cancel the response; one that has ended is unchanged."""
        return self._request(seconds, response_id, "post", "/cancel")

    def _request(
        self, seconds: float, response_id: str, method: str, action: str = ""
    ) -> RawRequest:
        limit = min(max(seconds, _MIN_TIMEOUT), _POLL_TIMEOUT)
        given = self.options.headers if is_given(self.options.headers) else {}
        _, mark, query = self.options.url.partition("?")
        # Headers of the call may carry its account: an organization, or a gateway's key.
        options = FinalRequestOptions.construct(
            method=method,
            url=f"/responses/{response_id}{action}{mark}{query}",
            params=self.options.params,
            headers={**given, RAW_RESPONSE_HEADER: "true"},
            timeout=_timeout(_POLL_TIMEOUT, limit),
            max_retries=0,
        )
        return RawRequest(options, seconds=limit)


def _timeout(seconds: float, limit: float) -> Any:
    """The SDK's timeout, which limits the requests of the caller's own HTTP clients."""
    return openai.Timeout(min(seconds, limit), connect=min(_CONNECT_TIMEOUT, limit))


def polled(response: Any) -> PolledResponse:
    """A response's state, from the HTTP response; a ``MalformedAnswerError`` if that has none."""
    content = response.content
    try:
        body = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _unreadable(f"the response is truncated or not JSON: {error}") from error
    fields = body if isinstance(body, dict) else {}
    response_id, status = fields.get("id"), fields.get("status")
    if not isinstance(response_id, str) or not isinstance(status, str):
        raise _unreadable(f"expected a background response, but got {content[:80]!r}")
    request_id = response.headers.get("x-request-id")
    if status not in ENDED:
        poll_after = positive_seconds(response.headers.get("openai-poll-after-ms"), 0.001) or 0.0
        kept = {"store": body.get("store")}
        return PolledResponse(response_id, status, kept, b"", request_id, poll_after)
    return PolledResponse(response_id, status, body, content, request_id)


def _unreadable(message: str) -> MalformedAnswerError:
    request = new_request("https://api.openai.com/v1/responses")
    return MalformedAnswerError(message=message, request=request)
