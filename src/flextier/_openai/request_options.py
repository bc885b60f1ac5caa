"""The SDK's options of a call: what they request, and those of one attempt (``service_tier``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import openai

from flextier._openai.compat import (
    RAW_RESPONSE_HEADER,
    is_given,
    new_request,
)
from flextier._openai.response_json import is_well_formed
from flextier.calls.call import Call
from flextier.errors import MalformedAnswerError
from flextier.lanes import RAW_BODY, CallFacts
from flextier.lanes.flex import OPEN_TIERS
from flextier.lanes.identification_headers import other_header

_ERROR_URL = "https://api.openai.com/v1"
_ROUTED = frozenset({"/chat/completions", "/responses"})
_USAGE_OPTIONS = {"include_usage": True}
_LIMITS = ("max_completion_tokens", "max_output_tokens", "max_tokens")
_STREAM_FIELDS = frozenset({"stream", "stream_options"})
_LEFT_OUT = _STREAM_FIELDS | {"service_tier"}


def call_of(options: Any) -> Call | None:
    """The call that a request makes; None: it is none that lanes apply to, and passes unchanged."""
    endpoint, body = options.url.partition("?")[0], options.json_data  # client.beta adds ?beta=true
    if endpoint not in _ROUTED or not isinstance(body, dict) or options.method.lower() != "post":
        return None
    tier = body.get("service_tier")
    if options.extra_json:  # overrides the body on the wire
        tier = options.extra_json.get("service_tier", tier)
    limit = None
    for name in _LIMITS:
        if isinstance(limit := body.get(name), int):
            break
        limit = None
    stream = bool(body.get("stream"))
    headers = options.headers
    return Call(
        str(body.get("model", "")),
        endpoint,
        stream,
        body,
        None if tier in OPEN_TIERS or not is_given(tier) else str(tier),
        limit,
        _requests_stream_usage(options) if stream else False,
        not stream and is_given(headers) and headers.get(RAW_RESPONSE_HEADER) == "stream",
    )


def is_journaled(options: Any, call: Call) -> bool:
    """Whether the journal applies to a call: its response is read here, once it is whole."""
    extra = options.extra_json or {}
    is_background = extra.get("background", call.body.get("background"))
    return not ("stream" in extra or is_background or call.reads_body)


NO_STREAM_USAGE: Mapping[str, Any] = {"X-Stainless-Flextier-Stream-Usage": openai.Omit()}
"""Headers, which are never sent, of a chat stream whose usage must not be requested."""


def _requests_stream_usage(options: Any) -> bool | None:
    """Whether the caller of a stream gets its usage; None: the caller leaves it open."""
    if not options.url.startswith("/chat/"):
        return True
    body = {**options.json_data, **(options.extra_json or {})}
    if "stream_options" in body:
        chosen = body["stream_options"]
        return isinstance(chosen, dict) and bool(chosen.get("include_usage"))
    if is_given(options.headers) and not NO_STREAM_USAGE.keys().isdisjoint(options.headers):
        return False
    return None


def request_facts(options: Any, call: Call) -> CallFacts:
    """The facts that lanes and the journal need of a call: its body without fields of lanes."""
    body = call.body
    if options.extra_json:
        body = {**body, **options.extra_json}
    left_out = _LEFT_OUT if call.tier is None else _STREAM_FIELDS
    body = {k: v for k, v in body.items() if k not in left_out and is_given(v)}
    if call.reads_body:
        extras = RAW_BODY
    elif "?" in options.url or options.params:
        extras = "query parameters"
    elif is_given(options.headers) and (name := other_header(options.headers)):
        extras = f"the header {name}"
    else:
        extras = ""
    return CallFacts(call.endpoint, body, call.stream, extras)


def raw_response_headers(options: Any) -> dict[str, str]:
    """The headers by which the SDK marks that the caller wants the raw response."""
    headers = options.headers if is_given(options.headers) else {}
    return {k: v for k, v in headers.items() if k.lower() == RAW_RESPONSE_HEADER.lower()}


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
        for field in _STREAM_FIELDS:
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
