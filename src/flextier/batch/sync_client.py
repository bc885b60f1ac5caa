"""A plain sync client for a batch's thread, with the settings of a call's client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from typing import Any, TypeVar

from flextier._openai import public_names as openai
from flextier._openai.http_library import http
from flextier._utils.wakeup import running_loop
from flextier.transport.http_clients import sync_client_like, sync_http_client

_T = TypeVar("_T")


def sync_client_for(client: Any) -> tuple[openai.OpenAI, bool]:
    """The SDK's own sync client with the address, the account and the connections of ``client``.

    It does not retry. If an async client has an HTTP client of the caller's, requests go through
    it on the event loop that runs now, which has to keep running. Also returned is whether the
    sync client depends on the client's own HTTP client.
    """
    http_client, bound = _http_client(client)
    sync_client = openai.OpenAI(
        api_key=_key(client),
        organization=client.organization,
        project=client.project,
        base_url=client.base_url,
        default_headers=client._custom_headers,
        default_query=client._custom_query,
        max_retries=0,
        http_client=http_client,
    )
    return sync_client, bound


def _key(client: Any) -> Any:
    provider = getattr(client, "_api_key_provider", None)
    if provider is None or isinstance(client, openai.OpenAI):
        return provider or client.api_key

    async def ask() -> str:
        key: str = await provider()
        return key

    return lambda: asyncio.run(ask())


def _http_client(client: Any) -> tuple[Any, bool]:
    own = client._client
    sync_client = sync_client_like(own)
    if sync_client is not None:
        return sync_client, False
    if isinstance(client, openai.OpenAI):
        return own, True
    loop = running_loop()
    if loop is None:  # under trio
        return sync_http_client(), False
    return http.Client(transport=_Bridge(own, loop), follow_redirects=True), True


class _Bridge(http.BaseTransport):  # type: ignore[misc]  # httpx or httpx2
    """An async HTTP client as the transport of a sync one, on the event loop it belongs to."""

    def __init__(self, client: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._client = client
        self._loop = loop

    def handle_request(self, request: Any) -> Any:
        sent = http.Request(
            request.method,
            request.url,
            headers=request.headers,
            content=_async_body(request.stream),
            extensions=request.extensions,
        )
        response = self._run(self._client.send(sent, stream=True))
        body = _SyncBody(self, response)
        return http.Response(
            response.status_code,
            headers=response.headers,
            stream=body,
            extensions=response.extensions,
        )

    def _run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        if self._loop.is_closed():
            raise http.ConnectError("the event loop of the client has ended")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


async def _async_body(stream: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in stream:
        yield piece


class _SyncBody(http.SyncByteStream):  # type: ignore[misc]  # httpx or httpx2
    def __init__(self, bridge: _Bridge, response: Any) -> None:
        self._bridge = bridge
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        pieces = self._response.aiter_raw()
        while (piece := self._bridge._run(_next(pieces))) is not None:
            yield piece

    def close(self) -> None:
        self._bridge._run(self._response.aclose())


async def _next(pieces: AsyncIterator[bytes]) -> bytes | None:
    return await anext(pieces, None)
