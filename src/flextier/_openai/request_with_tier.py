"""The request of one attempt: the call's, with the ``service_tier`` of its lane."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flextier._openai.compat import RAW_RESPONSE_HEADER, is_given, new_request
from flextier._openai.requested_call import STREAM_FIELDS
from flextier._openai.response_json import is_well_formed
from flextier.errors import MalformedAnswerError

_ERROR_URL = "https://api.openai.com/v1"
_USAGE_OPTIONS = {"include_usage": True}

MAX_BYTES = "flextier_max_bytes"
"""Name of the limit of a response in its request's extensions."""


class AttemptBody(dict[str, Any]):
    """The body of an attempt, with a callback for its response."""

    received: Callable[[Any, bool], None] | None = None
    """Called once with the HTTP response, before it is parsed, and whether it is a stream."""
    max_bytes: int | None = None
    """Bytes that the response may have, unpacked; None: no limit."""
    retries: int = 0
    """Attempts of the call before this one."""


def attempt_options(
    options: Any,
    *,
    tier: str,
    timeout: Any,
    plain: bool,
    usage: bool = False,
    received: Callable[[Any, bool], None] | None = None,
    max_bytes: int | None = None,
    retries: int = 0,
    fields: Mapping[str, Any] | None = None,
) -> Any:
    """The options for one attempt: those of the call, which are not changed, with its tier.

    Args:
        options: the call's.
        tier: the ``service_tier`` to request; empty: none.
        timeout: the SDK's timeout for the attempt.
        plain: whether to request the raw response of a plain call, where a stream was wanted.
        usage: whether to request the usage of a chat stream.
        received: called with the HTTP response, if it is no error, and whether it is a stream.
        max_bytes: bytes that the response may have, unpacked; None: no limit.
        retries: attempts of the call before this one.
        fields: the lane's other fields of the body; merged into objects that the caller set, whose
            values win.
    """
    body = AttemptBody(options.json_data, service_tier=tier)
    body.received, body.max_bytes, body.retries = received, max_bytes, retries
    changes: dict[str, Any] = {"json_data": body, "timeout": timeout, "max_retries": 0}
    if options.extra_json and "service_tier" in options.extra_json:
        changes["extra_json"] = {**options.extra_json, "service_tier": tier}
    if not tier:
        for fields_sent in (body, changes.get("extra_json", {})):
            fields_sent.pop("service_tier", None)
    if fields:
        extra = changes.get("extra_json", options.extra_json) or {}
        body |= {k: _merged(extra.get(k, body.get(k)), v) for k, v in fields.items()}
        changes["extra_json"] = {k: v for k, v in extra.items() if k not in fields} or None
    if is_given(options.post_parser):
        changes["post_parser"] = _checked(options.post_parser)
    if usage:
        body["stream_options"] = _USAGE_OPTIONS
    if plain:
        for field in STREAM_FIELDS:
            body.pop(field, None)
        headers = options.headers if is_given(options.headers) else {}
        changes["headers"] = {**headers, RAW_RESPONSE_HEADER: "true"}
    return options.model_copy(update=changes)


def _merged(given: Any, ours: Any) -> Any:
    return {**ours, **given} if isinstance(given, dict) and isinstance(ours, dict) else ours


def read_options(options: Any, received: Callable[[Any, bool], None]) -> Any:
    """The options to parse a response with that came in another way than by an attempt."""
    body = AttemptBody(options.json_data)
    body.received = received
    changes: dict[str, Any] = {"json_data": body}
    if is_given(options.post_parser):
        changes["post_parser"] = _checked(options.post_parser)
    return options.model_copy(update=changes)


def _checked(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def check_and_parse(response: Any) -> Any:
        try:
            return parse(response)
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            if is_well_formed(response):
                raise  # the caller's own parser rejects it
            raise MalformedAnswerError(
                message=f"the response cannot be parsed: {error}", request=new_request(_ERROR_URL)
            ) from error

    return check_and_parse
