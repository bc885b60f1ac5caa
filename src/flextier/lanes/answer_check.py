"""Whether a decoded response body is an answer, for direct, streamed, batch and background calls.

Proxies and compatible servers send bodies with HTTP 200 that are none: ``null``, an empty list, an
error object, a chat completion without choices.
"""

from __future__ import annotations

import reprlib
from typing import Any

_REPR = reprlib.Repr()
_REPR.maxlevel, _REPR.maxstring, _REPR.maxdict = 3, 200, 6


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
