"""How responses of the SDK are parsed: checked, unwrapped from raw ones, made into streams."""

from __future__ import annotations

import json
import warnings
from functools import lru_cache
from typing import Any, get_args

from flextier._openai.compat import LegacyAPIResponse
from flextier._openai.request_options import raw_response_headers
from flextier._openai.single_chunk_stream import (
    SETTINGS_URL,
    StreamUnverifiedWarning,
    as_event_stream,
)
from flextier.errors import MalformedAnswerError
from flextier.routing.call import Route


@lru_cache(maxsize=64)
def flex_stream_class(stream_cls: Any, flex_cls: Any) -> Any:
    """Our stream class, for the same events as the SDK's."""
    events = get_args(stream_cls)
    return flex_cls[events] if events else stream_cls


def parse_response(route: Route, answer: Any) -> Any:
    """The parsed response, also of a raw one: parsed here, so that a malformed one is noticed."""
    try:
        read = answer.parse() if isinstance(answer, LegacyAPIResponse) else answer
    except json.JSONDecodeError as error:
        raise malformed_error(route, error) from error
    if isinstance(read, str):
        # The SDK returns the text where the content type is not JSON.
        raise MalformedAnswerError(
            message=f"the response is not JSON, but begins {read[:80]!r}: is there a proxy or "
            "another server behind base_url?",
            request=route.request(),
        )
    return read


def malformed_error(route: Route, error: json.JSONDecodeError) -> Exception:
    """The error to raise for invalid JSON: the caller's own if its parser raised it."""
    if route.body_read:
        return error
    return MalformedAnswerError(
        message=f"the response is truncated or not JSON: {error}", request=route.request()
    )


def response_or_failure(route: Route, answer: Any, read: Any) -> Any:
    """The response, if it ends the call; else an error is raised for tenacity."""
    if not route.answered(read, answer):
        raise route.failure_error(read)
    return answer


def warn_unverified(route: Route) -> None:
    """Warn that the model was called without streaming."""
    warnings.warn(
        f"{route.model}: OpenAI streams this model for verified organisations only. The response "
        f"was requested without streaming and comes in one chunk. Verify at {SETTINGS_URL}",
        StreamUnverifiedWarning,
        stacklevel=2,
    )


def single_chunk_response(route: Route, response: Any) -> Any:
    """The HTTP response of a stream with the content of a response that is no stream."""
    options = route.options.json_data.get("stream_options") or {}
    kept = {
        name: value
        for name, value in response.headers.items()
        if name not in ("content-length", "content-encoding", "transfer-encoding", "content-type")
    }
    request = response.request
    events = as_event_stream(response.json(), include_usage=bool(options.get("include_usage")))
    route.whole = response.content
    return type(response)(
        200,
        headers={**kept, "content-type": "text/event-stream; charset=utf-8"},
        content=events,
        request=type(request)(
            request.method, request.url, headers=raw_response_headers(route.options)
        ),
    )
