"""Who may make requests: no page of another site, and where tokens are set, who has one."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from flextier.serve.error_answers import ErrorAnswer, refusal
from flextier.serve.pass_through import as_response
from flextier.serve.tokens import Token, token_of

MAX_HEADER_BYTES = 32 * 1024
OPEN = ("/healthz", "/readyz")
"""Paths for which no token is needed: they say one word."""
TOKEN = "flextier.token"
"""Where the token of a request is in the ASGI scope."""
_PAGES = ("/report", "/status", "/metrics")


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Access:
    """Checks each request before the application sees it.

    Args:
        app: the application.
        tokens: one of which a request must state; none: callers need none.
        hosts: other names under which the gateway may be reached.
        any_host: whether it may be reached under every name: the tokens protect it.
    """

    def __init__(
        self, app: ASGIApp, tokens: Sequence[Token], hosts: Iterable[str], *, any_host: bool
    ) -> None:
        self._app = app
        self._tokens = tokens
        self._hosts = frozenset(host.lower() for host in hosts)
        self._any_host = any_host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN:
            refused = self._refused(scope, Headers(scope=scope))
            if refused is not None:
                await as_response(refused)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refused(self, scope: Scope, headers: Mapping[str, str]) -> ErrorAnswer | None:
        lines = [(scope["raw_path"], scope["query_string"]), *scope["headers"]]
        if sum(len(name) + len(value) for name, value in lines) > MAX_HEADER_BYTES:
            return refusal(431, "too_large", "the headers are larger than the gateway takes")
        if not self._any_host and not self._is_ours(f"//{headers.get('host', '')}"):
            hint = "the gateway serves this machine; --allow-host adds a name"
            return refusal(403, "forbidden_host", f"Host: {hint}")
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        is_link = headers.get("sec-fetch-mode") == "navigate" and scope["method"] == "GET"
        is_foreign = site == "cross-site" and not is_link
        if is_foreign or (origin is not None and not self._is_ours(origin)):
            return refusal(403, "forbidden_origin", "Origin: no page of another site may do that")
        if self._tokens:
            scope[TOKEN] = token = token_of(headers, self._tokens)
            if token is None:
                asks = (("www-authenticate", 'Basic realm="flextier"'),)
                return refusal(
                    401,
                    "invalid_api_key",
                    "the gateway needs one of its tokens as the API key",
                    *(asks if scope["path"] in _PAGES else ()),
                )
        return None

    def _is_ours(self, url: str) -> bool:
        try:
            host = urlsplit(url).hostname or ""
        except ValueError:
            return False
        return is_loopback(host) or host in self._hosts
