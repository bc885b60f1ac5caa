"""The body of a stream that comes through a gateway, as the HTTP library reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flextier._openai.http_library import http
from flextier.routing.driver import adrive, drive

if TYPE_CHECKING:
    from flextier.gateway.call import GatewayCall


class SyncBody(http.SyncByteStream):  # type: ignore[misc]  # httpx or httpx2
    """For the sync clients."""

    def __init__(self, call: GatewayCall) -> None:
        self._call = call

    def __iter__(self) -> SyncBody:
        return self

    def __next__(self) -> bytes:
        if part := drive(self._call.next_part(), self._call.setting.clock):
            return bytes(part)
        raise StopIteration

    def close(self) -> None:
        drive(self._call.leave(), self._call.setting.clock)


class AsyncBody(http.AsyncByteStream):  # type: ignore[misc]  # httpx or httpx2
    """For the async clients."""

    def __init__(self, call: GatewayCall) -> None:
        self._call = call

    def __aiter__(self) -> AsyncBody:
        return self

    async def __anext__(self) -> bytes:
        if part := await adrive(self._call.next_part(), self._call.setting.clock):
            return bytes(part)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        await adrive(self._call.leave(), self._call.setting.clock)
