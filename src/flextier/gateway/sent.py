"""What of a call goes to a gateway: its body, its policy, its headers; and never a key."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from flextier._openai.private_names import dumps, is_given
from flextier.calls.context import Scope
from flextier.policy import PREFIX, FlexPolicy
from flextier.variables import setting

_OF_THE_GATEWAY = re.compile(r"budget|gateway|journal")
_CREDENTIAL = re.compile(
    r"auth|(?<!idempotency-)key|token|secret|cookie|credential|password|signature", re.IGNORECASE
)
_OF_THE_SDK = re.compile(
    r"x-stainless-|x-flextier-|openai-(?:organization|project)$|host$|user-agent$|accept|content-",
    re.IGNORECASE,
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MOST_TAGS, _LONGEST = 20, 100
"""What a gateway takes of tags, and of the characters of each."""
_LEAST = 8
"""The length of a key that is looked for within other values."""


def body_of(options: Any) -> bytes:
    """The body of a call, with the fields that the caller added."""
    body = {**options.json_data, **(options.extra_json or {})}
    return dumps({name: value for name, value in body.items() if is_given(value)})


def query_of(client: Any, options: Any) -> str:
    """The query of a call, with its question mark; empty: it has none."""
    given = options.url.partition("?")[2]
    params = {**client._custom_query, **(options.params or {})}
    added = urlencode(dict(_without_keys(params.items(), client)), doseq=True)
    query = "&".join(filter(None, (given, added)))
    return f"?{query}" if query else ""


def headers_of(client: Any, options: Any, policy: FlexPolicy, scope: Scope) -> dict[str, str]:
    """The headers of a call: those of the caller's own, its policy, its tags, its run."""
    own = options.headers if is_given(options.headers) else {}
    given = {**client._custom_headers, **own}
    headers = {
        name: value
        for name, value in _without_keys(given.items(), client)
        if is_given(value) and not _OF_THE_SDK.match(name)
    }
    headers["x-flextier-policy"] = json.dumps(_fields(policy))
    run = None if scope.run is None else scope.run()
    if run is not None:
        headers["x-flextier-continuation"] = json.dumps(run)
    if scope.tags:
        tags = (_CONTROL.sub(" ", tag)[:_LONGEST] for tag in scope.tags[:_MOST_TAGS])
        headers["x-flextier-tags"] = json.dumps(list(tags))
    return headers


def _fields(policy: FlexPolicy) -> dict[str, Any]:
    """The fields that the program sets, by arguments or by the environment."""
    return {
        name: value
        for name, value in policy.model_dump(mode="json").items()
        if is_set(policy, name) and not _OF_THE_GATEWAY.match(name)
    }


def is_set(policy: FlexPolicy, field: str) -> bool:
    """Whether the program sets a field; else the gateway's value applies."""
    return field in policy.explicit or bool(setting(PREFIX + field.upper()))


def _without_keys(items: Iterable[tuple[str, Any]], client: Any) -> Iterable[tuple[str, Any]]:
    """The items that hold no credential, by their name and by their value."""
    secrets = [
        secret
        for name in ("api_key", "admin_api_key", "webhook_secret")
        if isinstance(secret := getattr(client, name, None), str) and secret
    ]
    for name, value in items:
        holds = any(
            secret in str(value).split() or (len(secret) >= _LEAST and secret in str(value))
            for secret in secrets
        )
        if not holds and not _CREDENTIAL.search(name):
            yield name, value


def limits_of(theirs: str, ours: str, policy: FlexPolicy) -> str:
    """The limits of a call as in its report: the gateway's, and where ours come from."""
    own: Mapping[str, str] = {part.split()[0]: part for part in ours.split(", ")}
    parts = (part for part in theirs.split(", ") if part)
    return ", ".join(
        own.get(name, part) if is_set(policy, name) else part
        for part in parts
        for name in (part.split()[0],)
    )
