"""Which headers of a caller go upstream, and which of an upstream come back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flextier.serve.answer import Headers

# Of one connection: https://www.rfc-editor.org/rfc/rfc9110#name-connection
_HOP_BY_HOP = frozenset(
    {
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization",
        "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
_CALLERS = frozenset(
    {
        "authorization", "api-key", "cookie", "expect", "forwarded", "host", "openai-organization",
        "openai-project", "origin", "referer", "via", "x-api-key",
        "x-real-ip",
    }
)  # fmt: skip
"""Who the caller is: upstream, it is the gateway."""
_CALLERS_PREFIXES = ("sec-", "x-flextier-", "x-forwarded-")
_OF_BODY = frozenset(
    {"accept", "accept-encoding", "accept-language", "content-length", "content-type", "user-agent"}
)
"""What the SDK sets itself."""


def _of_callers(name: str) -> bool:
    return name in _HOP_BY_HOP or name in _CALLERS or name.startswith(_CALLERS_PREFIXES)


def passed_through(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """The headers of a request whose body goes upstream as it comes."""
    return encoded((name, value) for name, value in headers if not _of_callers(name))


def encoded(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI has them."""
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def sent_by_sdk(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The headers of a call that go upstream besides those of the SDK.

    Raises:
        ValueError: one is not ASCII: the SDK cannot send it.
    """
    sent = {
        name: value
        for name, value in headers
        if not (_of_callers(name) or name in _OF_BODY or name.startswith("x-stainless-"))
    }
    if others := [name for name, value in sent.items() if not value.isascii()]:
        raise ValueError(f"{', '.join(others)}: must be ASCII")
    return sent


def returned(response: Any, *, raw: bool = False) -> Headers:
    """The headers of an upstream's response; ``raw``: its body is passed on without decoding."""
    dropped = {*_HOP_BY_HOP, "set-cookie", "date", "server", "alt-svc"}
    if not raw:
        dropped |= {"content-encoding", "content-length"}
    lines = [
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers.raw
    ]
    return tuple((name, value) for name, value in lines if name.lower() not in dropped)
