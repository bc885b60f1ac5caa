"""The JSON of a response: whether it is an answer, and the facts that the report needs of it.

Proxies and compatible servers send bodies with HTTP 200 that are none: ``null``, an empty list, an
error object, a chat completion without choices.
"""

from __future__ import annotations

import reprlib
from typing import Any, NamedTuple, Protocol

from flextier.lanes.failures import Failure
from flextier.pricing.usage import Usage

_REPR = reprlib.Repr()
_REPR.maxlevel, _REPR.maxstring, _REPR.maxdict = 3, 200, 6


class Facts(Protocol):
    """What the report needs of a response."""

    @property
    def tier(self) -> str | None:
        """The service tier that was served; None: not stated."""

    @property
    def model(self) -> str | None:
        """The model that the response names; None: it names none."""

    @property
    def usage(self) -> Usage | None:
        """The tokens; None: not stated, or malformed."""


class Answer(NamedTuple):
    """The :class:`Facts` of a response, read from its JSON when they are asked for."""

    body: dict[str, Any]
    """The JSON, which :func:`why_unreadable` accepts."""
    content: bytes
    """The same as bytes."""
    request_id: str | None

    @property
    def tier(self) -> str | None:
        return _text(self.body.get("service_tier"))

    @property
    def model(self) -> str | None:
        return _text(self.body.get("model"))

    @property
    def usage(self) -> Usage | None:
        stated = self.body.get("usage")
        return Usage.from_json(stated) if isinstance(stated, dict) else None

    @property
    def failure(self) -> Failure | None:
        """The failure that a response with HTTP 200 reports; None: it reports none."""
        if self.body.get("status") != "failed" or self.body.get("object") != "response":
            return None
        error = self.body.get("error")
        if not isinstance(error, dict):
            return None
        code, message = error.get("code"), error.get("message")
        return Failure(code=None if code is None else str(code), message=str(message or ""))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def why_unreadable(endpoint: str, body: Any) -> str:
    """Why a body is no answer of the endpoint; empty if it is one.

    Args:
        endpoint: such as ``"/chat/completions"``, with ``/v1`` or without. Of endpoints other than
            Chat Completions and Responses, every JSON object without an error is an answer.
        body: the decoded JSON.
    """
    if not isinstance(body, dict):
        return f"it is {_REPR.repr(body)}, not a JSON object"
    if body.get("status") == "failed" and isinstance(body.get("error"), dict):
        return ""  # a response that reports its failure
    if body.get("error"):
        return f"it reports an error: {_REPR.repr(body['error'])}"
    if endpoint.endswith("/chat/completions"):
        return _why_no_completion(body)
    if endpoint.endswith("/responses"):
        return _why_no_response(body)
    return "" if body else "it is empty"


def _why_no_completion(body: dict[str, Any]) -> str:
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        return f"it has no choices: {_REPR.repr(body)}"
    for choice in choices:
        if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
            return f"it has a choice without a message: {_REPR.repr(choice)}"
    return ""


def _why_no_response(body: dict[str, Any]) -> str:
    if body.get("status") == "failed":
        return f"it has failed and gives no error: {_REPR.repr(body)}"
    output = body.get("output")
    if not isinstance(output, list) or not all(isinstance(item, dict) for item in output):
        return f"it has no output: {_REPR.repr(body)}"
    return ""
