"""One connection pool per event loop: no connection can be used under another loop."""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import Any

from flextier._openai.http_library import http
from flextier.transport.forked_child import disconnect, drop_in_child, sockets_of
from flextier.transport.interceptors import is_intercepted

_Open = dict[Any, tuple[Any, AsyncGenerator[None, None]]]


# Kept, as their finalizers would use event loops of the parent's.
_INHERITED: list[Any] = []


class PerLoopTransport(http.AsyncBaseTransport):  # type: ignore[misc]  # httpx or httpx2
    """A transport for each event loop, created by ``make``, and closed with the loop.

    ``intercepted`` sends the requests while a tool replaces httpx's methods; None: this does.
    """

    def __init__(
        self, make: Callable[[], Any], intercepted: PerLoopTransport | None = None
    ) -> None:
        self._make = make
        self._intercepted = intercepted
        self._open: _Open = {}
        # Not __del__: the garbage collector may have collected the transports before this object.
        weakref.finalize(self, _drop_all, self._open)
        drop_in_child(self)

    # Not async itself: one coroutine less for each resumption of a call.
    def handle_async_request(self, request: Any) -> Awaitable[Any]:
        """The response of the running loop's transport."""
        if self._intercepted is not None and is_intercepted():
            return self._intercepted.handle_async_request(request)
        entry = self._open.get(_running_loop())
        if entry is None:
            return self._open_and_send(request)
        response: Awaitable[Any] = entry[0].handle_async_request(request)
        return response

    async def _open_and_send(self, request: Any) -> Any:
        loop = _running_loop()
        for other in list(self._open):
            # Closed without shutting down its async generators; trio's tokens are never closed.
            if getattr(other, "is_closed", bool)():
                _drop(self._open, other)
        transport = self._make()
        lifetime = _open_until_loop_ends(transport, partial(_forget, self._open, loop, transport))
        self._open[loop] = (transport, lifetime)
        await _begun(lifetime, loop)
        return await transport.handle_async_request(request)

    def drop_inherited(self) -> None:
        """Have no connections of the parent's, in a forked child."""
        for loop, (transport, lifetime) in list(self._open.items()):
            _INHERITED.append((transport, lifetime))
            pool = getattr(transport, "_pool", None)
            disconnect(transport.sockets if pool is None else sockets_of(pool))
            _drop(self._open, loop)

    async def aclose(self) -> None:
        entry = self._open.pop(_running_loop(), None)
        if entry is not None:
            await entry[1].aclose()
        if self._intercepted is not None:
            await self._intercepted.aclose()


async def _open_until_loop_ends(
    transport: Any, drop: Callable[[], object]
) -> AsyncGenerator[None, None]:
    """Close ``transport`` when the loop shuts down its async generators, or when dropped."""
    try:
        yield
    finally:
        drop()
        await transport.aclose()


def _begun(lifetime: AsyncGenerator[None, None], loop: Any) -> Awaitable[None]:
    """Begin a generator that the loop closes: the loop's hooks are read in the first call.

    nest_asyncio, in notebooks, runs a loop without them: Python would then close the generator
    outside of any loop, which prints tracebacks and leaves connections open.
    """
    hooks = sys.get_asyncgen_hooks()
    if hooks.finalizer is not None or not isinstance(loop, asyncio.BaseEventLoop):
        return lifetime.__anext__()
    own: Any = loop
    sys.set_asyncgen_hooks(own._asyncgen_firstiter_hook, own._asyncgen_finalizer_hook)
    try:
        return lifetime.__anext__()
    finally:
        sys.set_asyncgen_hooks(*hooks)


def _forget(transports: _Open, loop: Any, transport: Any) -> None:
    """Drop a transport that its loop closes; the loop may have a newer one, after a fork."""
    if loop in transports and transports[loop][0] is transport:
        del transports[loop]


def _drop_all(transports: _Open) -> None:
    for loop in list(transports):
        _drop(transports, loop)


def _drop(transports: _Open, loop: Any) -> None:
    """Drop a transport: its loop closes it, if the loop still runs."""
    entry = transports.pop(loop, None)
    if entry is not None:
        abandon = getattr(entry[0], "abandon", None)
        if abandon is not None:
            abandon()


def _running_loop() -> Any:
    """A key for the running event loop: asyncio's loop itself, or trio's token."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return sys.modules["trio"].lowlevel.current_trio_token()
