"""An upstream: an API that the gateway serves, with the key that stays here."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import Any

from flextier._openai.http_library import http
from flextier._openai.private_names import RAW_RESPONSE_HEADER
from flextier.client import AsyncFlexOpenAI
from flextier.policy import FlexPolicy
from flextier.serve.headers import encoded
from flextier.transport.http_clients import async_http_client

ROUTED = ("chat/completions", "responses")
"""The paths whose ``POST`` goes down the lanes."""


class Upstream:
    """One upstream and its client, which all calls share.

    Args:
        name: as in the path ``/NAME/v1``; empty: the default one, at ``/v1``.
        base_url: its own.
        api_key: goes to it alone.
        policy: for its calls.
        connections: the most at once.
    """

    def __init__(
        self, name: str, base_url: str, api_key: str, policy: FlexPolicy, connections: int = 10_000
    ) -> None:
        self.name = name
        self.base_url = base_url.rstrip("/")
        limits = http.Limits(max_connections=connections, max_keepalive_connections=1000)
        own = policy.replace(gateway=None)
        self._http = async_http_client(follow_redirects=False, limits=limits)
        self.client = AsyncFlexOpenAI(
            api_key=api_key, base_url=self.base_url, policy=own, http_client=self._http
        )

    async def post(self, path: str, query: str, body: Any, headers: dict[str, str]) -> Any:
        """Make a call: the SDK's raw response; that of a stream is open."""
        from openai import AsyncStream
        from openai.types.chat import ChatCompletionChunk
        from openai.types.responses import ResponseStreamEvent

        stream = bool(body.get("stream"))
        event: Any = ChatCompletionChunk if path.startswith("chat") else ResponseStreamEvent
        raw = "stream" if stream else "true"
        return await self.client.post(
            f"/{path}{'?' if query else ''}{query}",
            cast_to=object,
            body=body,
            options={"headers": {**headers, RAW_RESPONSE_HEADER: raw}},
            stream=stream,
            stream_cls=AsyncStream[event] if stream else None,
        )

    async def send(
        self, method: str, path: str, query: str, headers: list[tuple[bytes, bytes]], content: Any
    ) -> Any:
        """Send any other request: the HTTP response, whose body is not read yet."""
        url = f"{self.base_url}/{path}{'?' if query else ''}{query}"
        client: Any = self.client
        own = {**client.auth_headers, **_given(client)}
        timeout = http.Timeout(600, connect=10)
        request = self._http.build_request(
            method, url, headers=[*headers, *encoded(own.items())], content=content, timeout=timeout
        )
        return await self._http.send(request, stream=True, follow_redirects=False)

    async def close(self) -> None:
        """Close the connections."""
        await self.client.close()


def preload() -> None:
    """Import what calls need: while the first call imports it, no refusal of others is read."""
    http.AsyncHTTPTransport(verify=False)
    with suppress(ImportError):
        import_module("flextier.transport.aiohttp_transport")


def _given(client: Any) -> dict[str, str]:
    """The organization and the project of the gateway's own environment."""
    named = {"OpenAI-Organization": client.organization, "OpenAI-Project": client.project}
    return {name: value for name, value in named.items() if value}
