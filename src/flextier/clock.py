"""The clock that calls go by: passed in, so that tests and rehearsals need not wait."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio


@dataclass(frozen=True, slots=True)
class Clock:
    """Time, sleep and chance. The defaults are the real ones."""

    now: Callable[[], float] = time.monotonic
    """Seconds that only go forward; their zero means nothing."""
    wall: Callable[[], float] = time.time
    """Seconds since the epoch, for dates that a server sends."""
    sleep: Callable[[float], None] = time.sleep
    """How the sync client waits."""
    asleep: Callable[[float], Awaitable[None]] = anyio.sleep
    """How the async client waits."""
    random: Callable[[], float] = random.random
    """A number in [0, 1), for jitter."""


SYSTEM_CLOCK = Clock()
