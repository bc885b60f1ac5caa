"""The clock of calls: passed in, so that tests and rehearsals need not wait."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio

from flextier._utils.wakeup import TaskWait, ThreadWait


@dataclass(frozen=True, slots=True)
class Clock:
    """Time, sleep and random numbers; by default the real ones."""

    now: Callable[[], float] = time.monotonic
    """Monotonic seconds from an arbitrary start."""
    wall: Callable[[], float] = time.time
    """Seconds since the epoch, for dates that a server sends."""
    sleep: Callable[[float], None] = time.sleep
    """How the sync client waits."""
    async_sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    """How the async client waits."""
    random: Callable[[], float] = random.random
    """A number in [0, 1), for jitter."""

    def pause(self, wait: ThreadWait | None, seconds: float) -> None:
        """Wait until woken, ``seconds`` at most; a custom ``sleep`` is not interrupted."""
        if self.sleep is not time.sleep:
            self.sleep(seconds)
            return
        if wait is None:
            wait = ThreadWait()
            wait.prepare()
        wait.wait(seconds)

    # Not async itself: thousands may wait in it at once, and each saves a coroutine.
    def apause(self, wait: TaskWait, seconds: float) -> Awaitable[None]:
        """The async version of :meth:`pause`."""
        return wait.wait(seconds) if self.async_sleep is anyio.sleep else self.async_sleep(seconds)


SYSTEM_CLOCK = Clock()
