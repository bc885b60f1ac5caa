"""The SDK's errors as failures of attempts, and failures as the SDK's errors."""

from __future__ import annotations

from typing import Any

import openai

from flextier._openai.http_library import NOT_CONNECTED, ResponseTooLarge, http, new_request
from flextier.errors import (
    BackgroundLost,
    BackgroundUnfinished,
    BatchNotSent,
    BatchUnfinished,
    FlexUnavailable,
    MalformedAnswerError,
)
from flextier.lanes.failures import Failure, Fault


def api_error(message: str, request: Any, body: object) -> openai.APIError:
    """The error for a response that reports a failure."""
    return openai.APIError(message, request, body=body)


def timeout_error(request: Any) -> openai.APITimeoutError:
    """The error for an attempt whose time is up."""
    return openai.APITimeoutError(request=request)


def flex_unavailable(url: str, message: str) -> FlexUnavailable:
    """The error for a call that a lane refused until patience was spent."""
    body = {"message": message, "type": "resource_unavailable", "code": "flex_unavailable"}
    response = http.Response(429, request=new_request(url), json={"error": body})
    return FlexUnavailable(message, response=response, body=body)


_MOST_TEXT = 4096


def failure_of(error: BaseException) -> Failure | None:
    """An exception of the SDK as a :class:`Failure`; None if it is no failure of an attempt."""
    if isinstance(error, openai.APITimeoutError):
        return Failure(fault="timeout", message=error.message, sent=_sent(error))
    if isinstance(error, BatchUnfinished):
        return Failure(fault="unfinished", code=error.status, message=error.message, sent=False)
    if isinstance(error, BackgroundUnfinished):
        return Failure(fault="unfinished", message=error.message, sent=error.possibly_billed)
    if isinstance(error, BackgroundLost):
        # Access that is denied now would be denied again: no retry on this lane.
        headers = {"x-should-retry": "false"} if error.denied else {}
        return Failure(fault="unfinished", message=error.message, headers=headers)
    if isinstance(error.__cause__, ResponseTooLarge):
        return Failure(code="response_too_large", message=str(error.__cause__))
    if isinstance(error, openai.APIConnectionError):
        return Failure(fault=_fault(error), message=error.message, sent=_sent(error))
    if isinstance(error, openai.APIResponseValidationError):
        # Strict validation rejects a page of HTML, too, which is no response of the API.
        is_json = "json" in error.response.headers.get("content-type", "")
        return None if is_json else Failure(fault="malformed", message=error.message)
    if isinstance(error, openai.APIStatusError):
        return Failure(
            status=error.status_code,
            headers=error.response.headers,
            request_id=error.request_id,
            **_error_fields(error),
        )
    if isinstance(error, openai.APIError):
        return Failure(**_error_fields(error))
    return None


def _fault(error: openai.APIConnectionError) -> Fault:
    return "malformed" if isinstance(error, MalformedAnswerError) else "connection"


def _sent(error: openai.APIError) -> bool:
    """Whether the request may have been sent: False where there was no connection."""
    return not isinstance(error, BatchNotSent) and not isinstance(error.__cause__, NOT_CONNECTED)


def _error_fields(error: openai.APIError) -> dict[str, Any]:
    return {
        "code": _text(error.code),
        "type": _text(error.type),
        "param": _text(error.param),
        "message": _message(error),
    }


def _message(error: openai.APIError) -> str:
    """The message; with the body, which openai 3 leaves out, if that has none (``"detail"``)."""
    message, body = error.message or "", error.body
    said = body.get("message") if isinstance(body, dict) else None
    text = "" if body is None or isinstance(said, str) else str(body)[:_MOST_TEXT]
    return message if text in message else f"{message} {text}"


def _text(value: Any) -> str | None:
    """As text: the SDK does not check types, and other servers send numbers or objects."""
    return value if value is None or isinstance(value, str) else str(value)
