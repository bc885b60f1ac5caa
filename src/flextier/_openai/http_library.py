"""The HTTP library that the SDK is built on: httpx under openai 2.x, httpx2 under openai 3.x."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

import openai

MAJOR = int(openai.__version__.split(".", 1)[0])
"""The SDK's major version: 2 or 3."""

http: Any = importlib.import_module("httpx2" if MAJOR >= 3 else "httpx")
"""The HTTP library that this SDK is built on."""

timeout_errors: tuple[type[Exception], ...] = (http.TimeoutException,)
connection_errors: tuple[type[Exception], ...] = (http.RequestError,)
NOT_CONNECTED: tuple[type[Exception], ...] = (
    http.ConnectError,
    http.ConnectTimeout,
    http.PoolTimeout,
)


@cache
def httpcore() -> Any:
    """The connections of :data:`http`; imported when first needed, as it imports trio."""
    return importlib.import_module("httpcore2" if MAJOR >= 3 else "httpcore")


class ResponseTooLarge(http.DecodingError):  # type: ignore[misc]  # httpx or httpx2
    """A response is longer than ``FlexPolicy.max_response_bytes``; the SDK wraps it."""


def httpcore_error(name: str) -> type[Exception]:
    """An exception class of httpcore, or httpcore2."""
    error: type[Exception] = getattr(httpcore(), name)
    return error


def new_request(url: str, headers: Any = None) -> Any:
    """A request object, for an exception or a response that must carry one."""
    return http.Request("POST", url, headers=headers)
