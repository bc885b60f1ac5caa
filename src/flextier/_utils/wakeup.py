"""Wake a waiting thread, asyncio task or trio task from any thread."""

from __future__ import annotations

import asyncio
import math
import sys
import threading
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from flextier._utils.interrupt import INTERRUPT


class ThreadWait:
    """The wait of a thread, until woken or timed out."""

    __slots__ = ("_woken",)

    # Not an Event: its lock is unsafe in a garbage collection or signal handler that wakes.
    _woken: SimpleQueue[None]

    def prepare(self) -> None:
        """Begin a new wait, before its condition is checked: every wake from now on ends it."""
        self._woken = SimpleQueue()

    def wake(self) -> None:
        """End the wait; from any thread, once a wait."""
        self._woken.put(None)

    def wait(self, seconds: float) -> None:
        """Wait until woken, ``seconds`` at most.

        Raises:
            KeyboardInterrupt: the calls of this context are to end.
        """
        interrupt = INTERRUPT.get()
        interrupt.waits.add(self.wake)
        try:
            interrupt.raise_if_set()
            with suppress(Empty):
                self._woken.get(timeout=min(seconds, threading.TIMEOUT_MAX))
        finally:
            interrupt.waits.discard(self.wake)
        interrupt.raise_if_set()


class AsyncioWait:
    """The wait of an asyncio task, until woken or timed out."""

    __slots__ = ("_future", "_loop", "_thread")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = threading.get_ident()

    def prepare(self) -> None:
        """Begin a new wait, before its condition is checked: every wake from now on ends it."""
        self._future: asyncio.Future[None] = self._loop.create_future()

    def wake(self) -> None:
        """End the wait; from any thread, once a wait.

        Raises:
            RuntimeError: the loop was closed, and its tasks have ended.
        """
        if threading.get_ident() == self._thread:
            if self._loop.is_closed():
                raise RuntimeError("the event loop is closed")
            _set(self._future)
        else:
            self._loop.call_soon_threadsafe(_set, self._future)

    async def wait(self, seconds: float) -> None:
        """Wait until woken, ``seconds`` at most, which may be infinite."""
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
    """The wait of a trio task, until woken or timed out."""

    __slots__ = ("_event", "_token", "_trio")

    def __init__(self, trio: Any) -> None:
        self._trio = trio
        self._token = trio.lowlevel.current_trio_token()

    def prepare(self) -> None:
        """Begin a new wait, before its condition is checked: every wake from now on ends it."""
        self._event = self._trio.Event()

    def wake(self) -> None:
        """End the wait; from any thread, once a wait.

        Raises:
            RuntimeError: the run has finished, and its tasks have ended.
        """
        self._token.run_sync_soon(self._event.set)

    async def wait(self, seconds: float) -> None:
        """Wait until woken, ``seconds`` at most."""
        with self._trio.move_on_after(seconds):
            await self._event.wait()


TaskWait = AsyncioWait | TrioWait


def task_wait() -> TaskWait:
    """A wait of the running task."""
    loop = running_loop()
    return TrioWait(sys.modules["trio"]) if loop is None else AsyncioWait(loop)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """asyncio's running loop; None under trio."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
