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
from flextier.lanes.answer_check import why_unreadable
from flextier.routing.call import Route


@lru_cache(maxsize=64)
def flex_stream_class(stream_cls: Any, flex_cls: Any) -> Any:
    """Our stream class, for the same events as the SDK's."""
    events = get_args(stream_cls)
    return flex_cls[events] if events else stream_cls


def check_answer(options: Any, response: Any) -> None:
    """Check that the body of a response is an answer of its endpoint, which the SDK does not.

    Raises:
        MalformedAnswerError: it is not.
    """
    try:
        body = response.json()
    except (ValueError, RecursionError) as error:  # also bad UTF-8, huge numbers, deep nesting
        problem = f"truncated or not JSON: {error}"
        if "json" not in response.headers.get("content-type", ""):
            problem = (
                f"not JSON, but begins {response.text[:80]!r}: is there a proxy or another server "
                "behind base_url?"
            )
        raise MalformedAnswerError(
            message=f"the response is {problem}", request=response.request
        ) from error
    if why := why_unreadable(options.url.partition("?")[0], body):
        raise MalformedAnswerError(
            message=f"the response is no answer: {why}", request=response.request
        )
    response.json = DecodedBody(response.content, body)


class DecodedBody:
    """The ``json`` method of a response whose body has been decoded: the SDK decodes it, too."""

    def __init__(self, content: bytes, body: Any) -> None:
        self._content = content
        self._body = body

    def __call__(self, **kwargs: Any) -> Any:
        return json.loads(self._content, **kwargs) if kwargs else self._body


def parse_response(response: Any) -> Any:
    """The parsed response, also of a raw one: parsed here, so that errors in it are noticed."""
    return response.parse() if isinstance(response, LegacyAPIResponse) else response


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
    """The HTTP response of a stream with the content of a response that is no stream.

    Raises:
        MalformedAnswerError: that is no answer.
    """
    check_answer(route.options, response)
    kept = {
        name: value
        for name, value in response.headers.items()
        if name not in ("content-length", "content-encoding", "transfer-encoding", "content-type")
    }
    request = response.request
    events = as_event_stream(response.json())
    route.whole = response.content
    return type(response)(
        200,
        headers={**kept, "content-type": "text/event-stream; charset=utf-8"},
        content=events,
        request=type(request)(
            request.method, request.url, headers=raw_response_headers(route.options)
        ),
    )
