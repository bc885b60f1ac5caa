"""Whether a tool replaces httpx's own methods: vcrpy, respx, pytest-httpx. It sees no aiohttp."""

from __future__ import annotations

from flextier._openai.compat import http, httpcore

_METHOD = "handle_async_request"
_ORIGINALS = [
    (kind, getattr(kind, _METHOD))
    for kind in (http.AsyncHTTPTransport, httpcore.AsyncConnectionPool)
]


def is_intercepted() -> bool:
    """Whether such a tool is active now."""
    return any(getattr(kind, _METHOD) is not original for kind, original in _ORIGINALS)
