"""Headers that say who makes a call, and change no response: lanes without headers drop them."""

from __future__ import annotations

from collections.abc import Iterable

_NAMES = frozenset(
    {
        "user-agent",  # pydantic-ai and the Agents SDK send their own with every call
        "x-client-request-id",
        "x-correlation-id",
        "x-request-id",
        "x-irid",  # inspect-ai's request id
        "baggage",  # https://www.w3.org/TR/baggage/
        "traceparent",  # https://www.w3.org/TR/trace-context/
        "tracestate",
        "http-referer",  # https://openrouter.ai/docs/app-attribution
        "x-title",
    }
)
_PREFIX = "x-stainless-"
"""Of the SDK's own headers."""


def other_header(names: Iterable[str]) -> str | None:
    """The first header that may change the response; None: all only identify the call."""
    lowered = ((name, name.lower()) for name in names)
    return next(
        (name for name, low in lowered if low not in _NAMES and not low.startswith(_PREFIX)), None
    )
