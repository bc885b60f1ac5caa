"""Responses of the SDK that are no answers, or that become streams of one chunk."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any, get_args

from flextier._openai.requested_call import raw_response_headers
from flextier._openai.single_chunk_stream import (
    SETTINGS_URL,
    StreamUnverifiedWarning,
    as_event_stream,
)
from flextier._utils.safe_warn import callers_level
from flextier.errors import MalformedAnswerError


@lru_cache(maxsize=64)
def flex_stream_class(stream_cls: Any, flex_cls: Any) -> Any:
    """Our stream class, for the same events as the SDK's."""
    events = get_args(stream_cls)
    return flex_cls[events] if events else stream_cls


def undecodable(response: Any, error: Exception) -> MalformedAnswerError:
    """The error for a response whose body is no JSON."""
    problem = f"truncated or not JSON: {error}"
    if "json" not in response.headers.get("content-type", ""):
        problem = (
            f"not JSON, but begins {response.text[:80]!r}: is there a proxy or another server "
            "behind base_url?"
        )
    return MalformedAnswerError(message=f"the response is {problem}", request=response.request)


def no_answer(response: Any, why: str) -> MalformedAnswerError:
    """The error for a response whose body is no answer of its endpoint."""
    return MalformedAnswerError(
        message=f"the response is no answer: {why}", request=response.request
    )


def raise_when_parsed(raw: Any, error: Exception) -> None:
    """Raise what the caller's parser has raised where the SDK does: in ``parse()``."""
    tried = error.__traceback__
    assert tried is not None
    error.__traceback__ = tried.tb_next  # without the frame that refers to the call's state

    def parse(*, to: Any = None) -> Any:
        if to is not None:
            return type(raw).parse(raw, to=to)
        raise error

    raw.parse = parse


def warn_unverified(model: str) -> None:
    """Warn that the model was called without streaming."""
    warnings.warn(
        f"{model}: OpenAI streams this model for verified organisations only. The response "
        f"was requested without streaming and comes in one chunk. Verify at {SETTINGS_URL}",
        StreamUnverifiedWarning,
        stacklevel=callers_level(),
    )


def single_chunk_response(options: Any, body: dict[str, Any], response: Any) -> Any:
    """The HTTP response of a stream with the content of an answer that is no stream."""
    kept = {
        name: value
        for name, value in response.headers.items()
        if name not in ("content-length", "content-encoding", "transfer-encoding", "content-type")
    }
    request = response.request
    return type(response)(
        200,
        headers={**kept, "content-type": "text/event-stream; charset=utf-8"},
        content=as_event_stream(body),
        request=type(request)(request.method, request.url, headers=raw_response_headers(options)),
    )
