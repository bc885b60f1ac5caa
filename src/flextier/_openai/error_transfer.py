"""Errors as JSON types, and back: their class, message and fields, from one process to another."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import openai

from flextier import errors
from flextier._openai.http_library import http

_MOST_CAUSES = 3
_NOT_SENT = frozenset({"report", "request", "response"})
"""Fields that the other process has itself."""
_DECIMALS = frozenset({"limit", "spent"})


def error_to_dict(error: BaseException) -> dict[str, Any] | None:
    """The error and its causes as JSON types; None: it is none of the SDK's or of flextier's."""
    return _to_dict(error, _MOST_CAUSES)


def _to_dict(error: BaseException, causes: int) -> dict[str, Any] | None:
    known = _class_named(type(error).__name__)
    if known is None or not isinstance(error, known):
        return None
    fields = {name: _plain(value) for name, value in vars(error).items() if name not in _NOT_SENT}
    data = {"class": known.__name__, "message": str(error), "fields": fields}
    if causes and (cause := error.__cause__) is not None:
        other = {"message": f"{type(cause).__name__}: {cause}"}
        data["cause"] = _to_dict(cause, causes - 1) or other
    return data


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, int, float, bool, list, dict)):
        return value
    return str(value)


def error_from_dict(data: dict[str, Any], request: Any, response: Any = None) -> Exception:
    """The error that :func:`error_to_dict` was called on, of a call with this request.

    ``response`` is the HTTP response of one that has a status. A cause of another library's class
    is an ``APIError`` that names the class.
    """
    known = _class_named(str(data.get("class"))) or openai.APIError
    message = str(data.get("message", ""))
    error = known.__new__(known)
    error.args = (message,)
    for name, value in (data.get("fields") or {}).items():
        is_amount = name in _DECIMALS and issubclass(known, errors.BudgetExceeded)
        setattr(error, name, Decimal(value) if is_amount else value)
    if issubclass(known, openai.APIError):
        error.message, error.request = message, request  # type: ignore[attr-defined]  # checked
    if isinstance(error, openai.APIStatusError):
        status = getattr(error, "status_code", 500)
        error.response = response or http.Response(status, request=request)
    if (cause := data.get("cause")) is not None:
        error.__cause__ = error_from_dict(cause, request)
    return error


def _class_named(name: str) -> type[Exception] | None:
    """An exception class of the SDK or of flextier."""
    found = getattr(errors, name, None) if name in errors.__all__ else getattr(openai, name, None)
    is_error = isinstance(found, type) and issubclass(found, Exception)
    return (
        found if is_error and (found.__module__.split(".")[0] in ("openai", "flextier")) else None
    )
