"""The SDK's options of a call: what they request, and those of one attempt (``service_tier``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import openai

from flextier._openai.compat import (
    RAW_RESPONSE_HEADER,
    FinalRequestOptions,
    is_given,
    new_request,
)
from flextier._openai.response_metadata import is_well_formed
from flextier.errors import MalformedAnswerError
from flextier.lanes import RAW_BODY, CallFacts
from flextier.lanes.flex import OPEN_TIERS

_ERROR_URL = "https://api.openai.com/v1"
_ROUTED = frozenset({"/chat/completions", "/responses"})
_USAGE_OPTIONS = {"include_usage": True}
_LIMITS = ("max_completion_tokens", "max_output_tokens", "max_tokens")
_STREAM_FIELDS = frozenset({"stream", "stream_options"})
_LEFT_OUT = _STREAM_FIELDS | {"service_tier"}


def is_routed(options: FinalRequestOptions) -> bool:
    """Whether a request is a model call that lanes apply to; all others pass unchanged."""
    return (
        options.url.partition("?")[0] in _ROUTED  # client.beta adds ?beta=true
        and options.method.lower() == "post"
        and isinstance(options.json_data, dict)
    )


def caller_reads_body(options: Any) -> bool:
    """Whether the caller reads the body itself (``with_streaming_response``), and not a stream."""
    return (
        is_given(options.headers)
        and options.headers.get(RAW_RESPONSE_HEADER) == "stream"
        and not options.json_data.get("stream")
    )


def is_journaled(options: Any) -> bool:
    """Whether the journal applies to a call: its response is read here, once it is whole."""
    extra = options.extra_json or {}
    is_background = extra.get("background", options.json_data.get("background"))
    return not ("stream" in extra or is_background or caller_reads_body(options))


NO_STREAM_USAGE: Mapping[str, Any] = {"X-Stainless-Flextier-Stream-Usage": openai.Omit()}
"""Headers, which are never sent, of a chat stream whose usage must not be requested."""


def requests_stream_usage(options: Any) -> bool | None:
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


def chosen_tier(options: Any) -> str | None:
    """The service tier that the caller chose; None where flextier chooses."""
    tier = options.json_data.get("service_tier")
    if options.extra_json:  # overrides the body on the wire
        tier = options.extra_json.get("service_tier", tier)
    return str(tier) if is_given(tier) and tier not in OPEN_TIERS else None


def request_facts(options: Any) -> CallFacts:
    """The facts that lanes and the journal need of a call: its body without fields of lanes."""
    endpoint, _, query = options.url.partition("?")
    body = options.json_data
    if options.extra_json:
        body = {**body, **options.extra_json}
    left_out = _LEFT_OUT if chosen_tier(options) is None else _STREAM_FIELDS
    body = {k: v for k, v in body.items() if k not in left_out and is_given(v)}
    if caller_reads_body(options):
        extras = RAW_BODY
    elif query or options.params:
        extras = "query parameters"
    elif is_given(options.headers) and not all(map(_is_sdks, options.headers)):
        extras = "headers of its own"
    else:
        extras = ""
    return CallFacts(endpoint, body, bool(options.json_data.get("stream")), extras)


def _is_sdks(header: str) -> bool:
    return header.lower().startswith("x-stainless-")


def raw_response_headers(options: Any) -> dict[str, str]:
    """The headers by which the SDK marks that the caller wants the raw response."""
    headers = options.headers if is_given(options.headers) else {}
    return {k: v for k, v in headers.items() if k.lower() == RAW_RESPONSE_HEADER.lower()}


def output_limit(options: Any) -> int | None:
    """The most output tokens that the caller allows; None: no limit is set."""
    for name in _LIMITS:
        limit = options.json_data.get(name)
        if isinstance(limit, int):
            return limit
    return None


def number_of_choices(options: Any) -> int:
    """How many choices of a chat completion the call requests."""
    n = {**options.json_data, **(options.extra_json or {})}.get("n")
    return n if isinstance(n, int) else 1


class AttemptBody(dict[str, Any]):
    """The body of an attempt, with a callback for the headers of its response."""

    on_headers: Callable[[Mapping[str, str]], None] | None = None


def headers_received(options: Any, headers: Mapping[str, str]) -> None:
    """Call the ``on_headers`` callback of an attempt's options, if they have one."""
    body = options.json_data
    if isinstance(body, AttemptBody) and body.on_headers is not None:
        on_headers, body.on_headers = body.on_headers, None  # the options may live long
        on_headers(headers)


def attempt_options(
    options: Any,
    *,
    tier: str,
    timeout: Any,
    plain: bool,
    usage: bool = False,
    on_read: Callable[[Any], None],
    on_headers: Callable[[Mapping[str, str]], None] | None = None,
    fields: Mapping[str, Any] | None = None,
) -> Any:
    """The options for one attempt: those of the call, which are not changed, with its tier.

    Args:
        options: the call's.
        tier: the ``service_tier`` to request; empty: none.
        timeout: the SDK's timeout for the attempt.
        plain: whether to request the raw response of a plain call, where a stream was wanted.
        usage: whether to request the usage of a chat stream.
        on_read: called with the response once it is read, before the caller's own parser.
        on_headers: called with the headers of a response that is no error.
        fields: the lane's other fields of the body; merged into objects that the caller set, whose
            values win.
    """
    body = AttemptBody(options.json_data, service_tier=tier)
    body.on_headers = on_headers
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
        changes["post_parser"] = _notifying(options.post_parser, on_read)
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


def with_read_callback(options: Any, on_read: Callable[[Any], None]) -> Any:
    """The options to parse a response with: ``on_read`` is called before the caller's parser."""
    if not is_given(options.post_parser):
        return options
    return options.model_copy(update={"post_parser": _notifying(options.post_parser, on_read)})


def _notifying(parse: Callable[[Any], Any], on_read: Callable[[Any], None]) -> Callable[[Any], Any]:
    def notify_and_parse(response: Any) -> Any:
        on_read(response)
        try:
            return parse(response)
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            if is_well_formed(response):
                raise  # the caller's own parser rejects it
            on_read(None)
            raise MalformedAnswerError(
                message=f"the response cannot be parsed: {error}", request=new_request(_ERROR_URL)
            ) from error

    return notify_and_parse
