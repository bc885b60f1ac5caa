"""What an error of a call becomes for its caller: status, headers, body."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import openai

from flextier._openai.http_library import connection_errors, timeout_errors
from flextier.errors import BudgetExceeded, Detached, PolicyError
from flextier.journal import JournalError
from flextier.serve.answer import JSON, Headers, error_body
from flextier.serve.headers import returned

NO_RETRY = ("x-should-retry", "false")
"""Stock clients retry what the gateway has given up, without it."""
_RETRY_AFTER = "5"


class ErrorAnswer(NamedTuple):
    """An error as an HTTP answer."""

    status: int
    headers: Headers
    body: bytes


def error_answer(error: BaseException) -> ErrorAnswer:
    """The answer for an error that a call has ended with.

    An error of the upstream's comes back as it is: status, headers and body. One about the
    gateway's own key does not, as OpenAI quotes a part of the key.
    """
    name = ("x-flextier-error", type(error).__name__)
    if isinstance(error, openai.APIStatusError):
        return upstream_error(error.status_code, error.response, (name,), error.response.content)
    status, code = _kind(error)
    retry = ("retry-after", _RETRY_AFTER) if status == 503 else NO_RETRY
    message = str(error) or "the call was cancelled"
    if code == "internal_error":  # it may have a part of the gateway's settings
        message = f"the gateway failed: {name[1]}"
    return ErrorAnswer(status, (*JSON, name, retry), error_body(message, code))


def upstream_error(status: int, response: Any, added: Headers, body: bytes) -> ErrorAnswer:
    """The answer for a status of an upstream's that is no success."""
    if status == 401:
        return _own(added, "upstream_unauthorized", "the upstream rejects the gateway's key")
    if status < 400:
        return _own(added, "upstream_redirects", "the upstream redirects, which is not followed")
    headers = returned(response)
    if not any(name.lower() == "x-should-retry" for name, _ in headers):
        headers = (*headers, NO_RETRY)
    return ErrorAnswer(status, (*headers, *added), body)


def _own(added: Headers, code: str, message: str) -> ErrorAnswer:
    return ErrorAnswer(502, (*JSON, *added, NO_RETRY), error_body(message, code))


def _kind(error: BaseException) -> tuple[int, str]:
    if isinstance(error, (openai.APITimeoutError, *timeout_errors)):
        return 504, "timeout"
    if isinstance(error, BudgetExceeded):
        return 402, "budget_exceeded"
    if isinstance(error, PolicyError):
        return 400, "invalid_policy"
    if isinstance(error, JournalError | Detached | asyncio.CancelledError):
        return 503, "unavailable"
    if isinstance(error, (openai.APIError, *connection_errors)):
        return 502, "upstream_failed"
    return 500, "internal_error"


def refusal(status: int, code: str, message: str, *headers: tuple[str, str]) -> ErrorAnswer:
    """The answer for a request that the gateway does not make."""
    return ErrorAnswer(
        status, (*JSON, *headers), error_body(message, code, "invalid_request_error")
    )


def too_busy(message: str) -> ErrorAnswer:
    """The answer for a request that may be repeated in a few seconds."""
    return refusal(503, "unavailable", message, ("retry-after", _RETRY_AFTER))
