"""The request of one attempt: the call's, with the ``service_tier`` of its lane."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import openai

from flextier._openai.http_library import http, new_request
from flextier._openai.lean import is_lean
from flextier._openai.private_names import RAW_RESPONSE_HEADER, dumps, is_given, sdk_log
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


# --- as HTTP --------------------------------------------------------------------------------------


class HttpRequests:
    """Builds the HTTP requests of a client's attempts.

    The SDK makes URL and headers each time, which takes longer than encoding the body.
    Where all that it makes them of is as it was, those of an earlier request are copied.
    """

    def __init__(self) -> None:
        self._templates: dict[Any, _Template] = {}

    def build(self, client: Any, options: Any, library: str, build: Callable[[], Any]) -> Any:
        """The request for the options of an attempt, as the SDK's ``build`` returns it.

        ``library`` is the async library that a header names.
        """
        inputs = _inputs(client, options)
        if inputs is None:
            return build()
        key = options.url, options.timeout.read, library
        template = self._templates.get(key)
        if template is not None and template.inputs == inputs:
            return template.request(options, client._client.cookies)
        request = build()
        if _can_be_copied(request, inputs):
            if len(self._templates) > _MOST_TEMPLATES:
                self._templates.clear()
            self._templates[key] = _Template.of(request, inputs)
        return request


_MOST_TEMPLATES = 16


class _Template(NamedTuple):
    """A request without its body, its cookies and its timeouts."""

    inputs: tuple[Any, ...]
    kind: Any
    method: str
    url: Any
    headers: Any
    encoding: str
    extensions: dict[str, Any]

    @classmethod
    def of(cls, request: Any, inputs: tuple[Any, ...]) -> _Template:
        headers = type(request.headers)(request.headers)
        headers.pop("Cookie", None)
        extensions = dict(request.extensions)
        kind, encoding = type(request), request.headers.encoding
        return cls(inputs, kind, request.method, request.url, headers, encoding, extensions)

    def request(self, options: Any, cookies: Any) -> Any:
        content = dumps(options.json_data)
        timeout = options.timeout.as_dict()
        request = self.kind(
            self.method,
            self.url,
            stream=http.ByteStream(content),
            extensions={**self.extensions, "timeout": timeout},
        )
        headers = type(self.headers)(self.headers, encoding=self.encoding)
        headers["Content-Length"] = str(len(content))
        request.headers = headers
        request.read()
        if cookies:
            cookies.set_cookie_header(request)
        return request


def _inputs(client: Any, options: Any) -> tuple[Any, ...] | None:
    """What the SDK makes the request of, except its body; None: more than is compared here."""
    http_client, headers = client._client, options.headers
    if (
        options.extra_json
        or options.params
        or options.files
        or options.content is not None
        or options.json_data.retries
        or client._custom_query
        or client._idempotency_header
        or getattr(client, "_provider_runtime", None) is not None
        or http_client.params
        or "build_request" in vars(http_client)
        or not _is_plain(client.__class__, http_client.__class__)
        or sdk_log.isEnabledFor(logging.DEBUG)
    ):
        return None
    return (
        client.base_url,
        http_client,
        client.api_key,
        getattr(client, "admin_api_key", None),
        client.organization,
        client.project,
        {**client._custom_headers},
        {**headers} if is_given(headers) else {},
        {**getattr(options, "security", {})},
        http_client.headers.raw,
    )


_BUILDERS = (
    "_auth_headers", "_auth_query", "_build_headers", "_merge_headers", "_prepare_url",
    "_validate_headers", "auth_headers", "default_headers", "default_query", "qs",
)  # fmt: skip
"""What the SDK builds requests with, in one version or another."""


@lru_cache(maxsize=64)
def _is_plain(client: Any, http_client: Any) -> bool:
    """Whether neither class changes how requests are built."""
    sdk = openai.AsyncOpenAI if issubclass(client, openai.AsyncOpenAI) else openai.OpenAI
    stock = http.AsyncClient if issubclass(client, openai.AsyncOpenAI) else http.Client
    return (
        is_lean()
        and getattr(http_client, "build_request", None) is stock.build_request
        and all(getattr(client, x, None) is getattr(sdk, x, None) for x in _BUILDERS)
    )


def _can_be_copied(request: Any, inputs: tuple[Any, ...]) -> bool:
    """Whether nothing of the request but its own length depends on its body or on cookies."""
    *_, custom, given, _, raw = inputs
    names = {str(name).lower() for name in (*custom, *given)}
    names |= {name.decode("latin-1").lower() for name, _ in raw}
    return type(request.stream) is http.ByteStream and names.isdisjoint(_OF_THE_BODY)


_OF_THE_BODY = frozenset({"cookie", "content-length", "transfer-encoding"})
