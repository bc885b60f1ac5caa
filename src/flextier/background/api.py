"""The requests of one background response: create, look, cancel; and what their answers say."""

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

# Seconds. What is asked of a response is answered at once; a creation has its whole input to send.
_QUICK, _CREATION = 30.0, 120.0
_CONNECTING = 10.0
# A request that is made when it is late already has still a chance to be answered.
_LEAST = 0.1

ENDED = frozenset({"completed", "failed", "incomplete", "cancelled"})
"""The statuses after which nothing comes."""

PENDING = frozenset({"queued", "in_progress"})
"""Statuses of a pending response. A status in neither set was unknown when this was written."""


@dataclass(frozen=True, slots=True)
class RawRequest:
    """A request that is to be made now, raw."""

    options: Any
    whole: bool = False
    """Whether it is completed although no call waits any more: it creates something."""
    seconds: float = math.inf
    """How long it may take, all of it."""


@dataclass(frozen=True, slots=True)
class PolledResponse:
    """What the API says of a response."""

    id: str
    status: str
    body: dict[str, Any]
    """The ``response`` object; before its end, of which thousands may wait, ``store`` alone."""
    content: bytes
    """The same as JSON; before its end, nothing."""
    request_id: str | None

    @property
    def ended(self) -> bool:
        """Whether nothing more will become of it."""
        return self.status in ENDED

    @property
    def held(self) -> bool:
        """Whether it was answered directly, by a server that has no background mode."""
        return self.body.get("background") is False

    @property
    def stored(self) -> bool:
        """Whether it is kept for longer than it takes to ask about it."""
        return self.body.get("store") is not False


class BackgroundRequests:
    """Made from the SDK's options of a call; each within its ``seconds``."""

    __slots__ = ("_options", "_query")

    def __init__(self, options: Any) -> None:
        self._options = options
        self._query = options.url.partition("?")[2]

    def create(self, lane: Lane, run: str | None, seconds: float) -> RawRequest:
        """Have the response made; ``run``: what ties it to others."""
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
        """How it stands."""
        return self._about(seconds, name, "get")

    def cancel(self, name: str, seconds: float) -> RawRequest:
        """Stop it; what has ended stays as it is."""
        return self._about(seconds, name, "post", "/cancel")

    def _about(self, seconds: float, name: str, method: str, verb: str = "") -> RawRequest:
        limit = min(max(seconds, _LEAST), _QUICK)
        given = self._options.headers if is_given(self._options.headers) else {}
        query = f"?{self._query}" if self._query else ""
        # Its headers may say whose it is: an organization, or a gateway's key.
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
    """What an HTTP response says of a background response.

    Raises:
        MalformedAnswerError: it is no such thing.
    """
    content = response.content
    try:
        body = json.loads(content)
    except ValueError as error:
        raise _unreadable(f"the answer is cut or not JSON: {error}") from error
    name, status = (body.get("id"), body.get("status")) if isinstance(body, dict) else (None, None)
    if not isinstance(name, str) or not isinstance(status, str):
        raise _unreadable(f"the answer is no response, but begins {content[:80]!r}")
    request_id = response.headers.get("x-request-id")
    if status not in ENDED:
        return PolledResponse(name, status, {"store": body.get("store")}, b"", request_id)
    return PolledResponse(name, status, body, content, request_id)


def _unreadable(message: str) -> MalformedAnswerError:
    request = new_request("https://api.openai.com/v1/responses")
    return MalformedAnswerError(message=message, request=request)
