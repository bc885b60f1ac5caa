"""How a thread, an asyncio task or a trio task waits to be woken, from whatever thread."""

from __future__ import annotations

import asyncio
import math
import sys
import threading
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any


class ThreadWait:
    """A thread that waits."""

    __slots__ = ("_woken",)

    # Not an Event: its lock is not for a garbage collector or a signal handler that wakes.
    _woken: SimpleQueue[None]

    def prepare(self) -> None:
        """Before each look: what wakes from now on counts."""
        self._woken = SimpleQueue()

    def wake(self) -> None:
        """From any thread, once a look."""
        self._woken.put(None)

    def wait(self, seconds: float) -> None:
        """Until woken, or for so long."""
        with suppress(Empty):
            self._woken.get(timeout=min(seconds, threading.TIMEOUT_MAX))


class AsyncioWait:
    """An asyncio task that waits."""

    __slots__ = ("_future", "_loop", "_thread")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = threading.get_ident()

    def prepare(self) -> None:
        """Before each look: what wakes from now on counts."""
        self._future: asyncio.Future[None] = self._loop.create_future()

    def wake(self) -> None:
        """From any thread, once a look.

        Raises:
            RuntimeError: the loop was closed, nobody is left to be woken.
        """
        if threading.get_ident() == self._thread:
            if self._loop.is_closed():
                raise RuntimeError("the event loop is closed")
            _set(self._future)
        else:
            self._loop.call_soon_threadsafe(_set, self._future)

    async def wait(self, seconds: float) -> None:
        """Until woken, or for so long; infinity: until woken."""
        if seconds == math.inf:
            await self._future
            return
        timer = self._loop.call_later(seconds, _set, self._future)
        try:
            await self._future
        finally:
            timer.cancel()


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class TrioWait:
    """A trio task that waits."""

    __slots__ = ("_event", "_token", "_trio")

    def __init__(self, trio: Any) -> None:
        self._trio = trio
        self._token = trio.lowlevel.current_trio_token()

    def prepare(self) -> None:
        """Before each look: what wakes from now on counts."""
        self._event = self._trio.Event()

    def wake(self) -> None:
        """From any thread, once a look.

        Raises:
            RuntimeError: the run has finished, nobody is left to be woken.
        """
        self._token.run_sync_soon(self._event.set)

    async def wait(self, seconds: float) -> None:
        """Until woken, or for so long."""
        with self._trio.move_on_after(seconds):
            await self._event.wait()


TaskWait = AsyncioWait | TrioWait


def task_wait() -> TaskWait:
    """For the running task."""
    loop = running_loop()
    return TrioWait(sys.modules["trio"]) if loop is None else AsyncioWait(loop)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """asyncio's running loop; None under trio."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
