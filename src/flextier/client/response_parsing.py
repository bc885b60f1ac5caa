"""How the SDK's answers are read: checked, taken out of raw responses, turned into streams."""

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
def watched(stream_cls: Any, watched: Any) -> Any:
    """Our class of stream, for the same events as the SDK's."""
    events = get_args(stream_cls)
    return watched[events] if events else stream_cls


def parsed(route: Route, answer: Any) -> Any:
    """The answer itself, out of its raw response; read here, so that a bad one is noticed."""
    try:
        read = answer.parse() if isinstance(answer, LegacyAPIResponse) else answer
    except json.JSONDecodeError as error:
        raise unreadable(route, error) from error
    if isinstance(read, str):
        # What the SDK makes of a content type other than JSON.
        raise MalformedAnswerError(
            message=f"the answer is not JSON, but begins {read[:80]!r}: is there a proxy or "
            "another server behind base_url?",
            request=route.request(),
        )
    return read


def unreadable(route: Route, error: json.JSONDecodeError) -> Exception:
    """What to raise for JSON that is none: the answer's fault, unless the caller parsed it."""
    if route.body_read:
        return error
    return MalformedAnswerError(
        message=f"the answer is cut or not JSON: {error}", request=route.request()
    )


def settled(route: Route, answer: Any, read: Any) -> Any:
    """The answer, if it ends the call; an error for tenacity, if it does not."""
    if not route.answered(read, answer):
        raise route.vain(read)
    return answer


def warn_unverified(route: Route) -> None:
    """Say that a stream could not be had."""
    warnings.warn(
        f"{route.model}: OpenAI wants this organisation verified before it streams this model. The "
        f"answer was asked for without streaming and comes in one chunk. Verify at {SETTINGS_URL}",
        StreamUnverifiedWarning,
        stacklevel=2,
    )


def one_chunk(route: Route, response: Any) -> Any:
    """The HTTP response of a stream that says at once what a plain response says."""
    options = route.options.json_data.get("stream_options") or {}
    kept = {
        name: value
        for name, value in response.headers.items()
        if name not in ("content-length", "content-encoding", "transfer-encoding", "content-type")
    }
    request = response.request
    return type(response)(
        200,
        headers={**kept, "content-type": "text/event-stream; charset=utf-8"},
        content=as_event_stream(response.json(), include_usage=bool(options.get("include_usage"))),
        request=type(request)(
            request.method, request.url, headers=raw_response_headers(route.options)
        ),
    )
