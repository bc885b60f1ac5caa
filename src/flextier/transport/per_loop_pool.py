"""One connection pool per event loop: connections cannot be used under another than their own."""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import Any

from flextier._openai.compat import http

_Open = dict[Any, tuple[Any, AsyncGenerator[None, None]]]


class PerLoopTransport(http.AsyncBaseTransport):  # type: ignore[misc]  # httpx or httpx2
    """A transport for each event loop, closed with the loop.

    Args:
        make: makes a transport for the loop that is running.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._open: _Open = {}
        # Not __del__: the garbage collector may have been to the transports before it comes here.
        weakref.finalize(self, _let_go_of_all, self._open)

    # Not async itself: one coroutine less to go through for everything that a call waits for.
    def handle_async_request(self, request: Any) -> Awaitable[Any]:
        """The answer of the running loop's transport."""
        entry = self._open.get(_running_loop())
        if entry is None:
            return self._first(request)
        answer: Awaitable[Any] = entry[0].handle_async_request(request)
        return answer

    async def _first(self, request: Any) -> Any:
        loop = _running_loop()
        self._drop_closed()
        transport = self._make()
        lifetime = _open_until_loop_ends(transport, partial(self._open.pop, loop, None))
        self._open[loop] = (transport, lifetime)
        await lifetime.__anext__()
        return await transport.handle_async_request(request)

    def _drop_closed(self) -> None:
        """Let go of loops that were closed without shutting their async generators down."""
        for loop in list(self._open):
            if getattr(loop, "is_closed", bool)():
                _let_go(self._open, loop)

    async def aclose(self) -> None:
        entry = self._open.pop(_running_loop(), None)
        if entry is not None:
            await entry[1].aclose()


async def _open_until_loop_ends(
    transport: Any, forget: Callable[[], object]
) -> AsyncGenerator[None, None]:
    """Closes ``transport`` when the loop shuts its async generators down, or when dropped."""
    try:
        yield
    finally:
        forget()
        await transport.aclose()


def _let_go_of_all(transports: _Open) -> None:
    for loop in list(transports):
        _let_go(transports, loop)


def _let_go(transports: _Open, loop: Any) -> None:
    """Drop a transport: its loop closes it, if that still runs."""
    entry = transports.pop(loop, None)
    if entry is not None:
        abandon = getattr(entry[0], "abandon", None)
        if abandon is not None:
            abandon()


def _running_loop() -> Any:
    """What stands for the running event loop: asyncio's itself, or trio's token."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return sys.modules["trio"].lowlevel.current_trio_token()


def under_asyncio() -> bool:
    """Whether the running event loop is asyncio's, or one in its place such as uvloop's."""
    return isinstance(_running_loop(), asyncio.AbstractEventLoop)
