"""What a request of the SDK asks for: the call, its facts for the lanes, who reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import openai

from flextier._openai.private_names import RAW_RESPONSE_HEADER, is_given
from flextier.calls.call import Call
from flextier.lanes import RAW_BODY, CallFacts
from flextier.lanes.flex import OPEN_TIERS
from flextier.lanes.identification_headers import other_header

_ROUTED = frozenset({"/chat/completions", "/responses"})
_LIMITS = ("max_completion_tokens", "max_output_tokens", "max_tokens")
STREAM_FIELDS = frozenset({"stream", "stream_options"})
"""Fields of a body that ask for a stream."""
_LEFT_OUT = STREAM_FIELDS | {"service_tier"}


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
    left_out = _LEFT_OUT if call.tier is None else STREAM_FIELDS
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
