"""The clock that calls go by: passed in, so that tests and rehearsals need not wait."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio

from flextier._utils.wakeup import TaskWait, ThreadWait


@dataclass(frozen=True, slots=True)
class Clock:
    """Time, sleep and chance. The defaults are the real ones."""

    now: Callable[[], float] = time.monotonic
    """Seconds that only go forward; their zero means nothing."""
    wall: Callable[[], float] = time.time
    """Seconds since the epoch, for dates that a server sends."""
    sleep: Callable[[float], None] = time.sleep
    """How the sync client waits."""
    async_sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    """How the async client waits."""
    random: Callable[[], float] = random.random
    """A number in [0, 1), for jitter."""

    def pause(self, wait: ThreadWait, seconds: float) -> None:
        """Wait until woken, or for so long. A ``sleep`` of one's own is slept through."""
        if self.sleep is time.sleep:
            wait.wait(seconds)
        else:
            self.sleep(seconds)

    # Not async itself: thousands may wait in it at once, each in a coroutine less.
    def apause(self, wait: TaskWait, seconds: float) -> Awaitable[None]:
        """The async twin of :meth:`pause`."""
        return wait.wait(seconds) if self.async_sleep is anyio.sleep else self.async_sleep(seconds)


SYSTEM_CLOCK = Clock()
