"""A clock that leaps over what everybody waits for, with real sockets: hours in seconds."""

from __future__ import annotations

import asyncio
import heapq
import math
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from flextier._utils.clock import Clock
from flextier._utils.wakeup import TaskWait, ThreadWait
from flextier.sim import Simulator

_LOOK = 0.004
"""Seconds between two looks whether everybody waits."""
_QUIET = 3
"""Looks in a row that have to find so, before time leaps."""


_Alarm: TypeAlias = "list[Any]"
"""When, a number, and whom to wake; None: cancelled."""


class Leaping:
    """Time for the clients and the simulator of one run.

    While a request is under way it goes ``speed`` times as fast as ours; when there is none and
    all that is left are waits, it leaps to the end of the shortest.

    Args:
        speed: seconds in one of ours.
    """

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._began = time.monotonic()
        self._epoch = time.time()
        self._leapt = 0.0
        self._lock = threading.Lock()
        self._alarms: list[_Alarm] = []
        self._count = 0
        self._under_way = 0

    def now(self) -> float:
        """Seconds since it was made."""
        return self._leapt + (time.monotonic() - self._began) * self._speed

    def clock(self) -> Clock:
        """For a client."""
        return _LeapingClock(
            now=self.now,
            wall=lambda: self._epoch + self.now(),
            sleep=self._sleep,
            async_sleep=self._asleep,
            leaping=self,
        )

    def hooks(self) -> dict[str, list[Any]]:
        """For an async HTTP client, so that its requests are known."""

        async def sent(_: Any) -> None:
            self._under_way += 1

        async def answered(_: Any) -> None:
            self._under_way -= 1

        return {"request": [sent], "response": [answered]}

    def _sleep(self, seconds: float) -> None:
        woken = threading.Event()
        self.alarm(seconds, woken.set)
        woken.wait()

    async def _asleep(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        woken = asyncio.Event()
        self.alarm(seconds, lambda: loop.call_soon_threadsafe(woken.set))
        await woken.wait()

    def alarm(self, seconds: float, wake: Callable[[], None]) -> Callable[[], None]:
        """Call ``wake`` in the given seconds; calling the result cancels that."""
        with self._lock:
            self._count += 1
            alarm: _Alarm = [self.now() + seconds, self._count, wake]
            heapq.heappush(self._alarms, alarm)

        def call_off() -> None:
            alarm[2] = None

        return call_off

    @asynccontextmanager
    async def going(self, simulator: Simulator) -> AsyncIterator[None]:
        """Time goes on, and leaps, as long as this lasts."""
        task = asyncio.create_task(self._go(simulator))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _go(self, simulator: Simulator) -> None:
        quiet, before = 0, 0
        while True:
            await asyncio.sleep(_LOOK)
            self._wake()
            busy = self._under_way or simulator.in_flight or self._count != before
            quiet, before = 0 if busy else quiet + 1, self._count
            if quiet >= _QUIET and (due := self._next()) is not None:
                self._leapt += max(0.0, due - self.now())
                self._wake()
                quiet = 0

    def _next(self) -> float | None:
        with self._lock:
            while self._alarms and self._alarms[0][2] is None:
                heapq.heappop(self._alarms)
            return self._alarms[0][0] if self._alarms else None

    def _wake(self) -> None:
        while (due := self._next()) is not None and due <= self.now():
            with self._lock:
                wake = heapq.heappop(self._alarms)[2]
            if wake is not None:
                wake()


@dataclass(frozen=True)
class _LeapingClock(Clock):
    """Waits on it can be cut short, as those on the system's clock."""

    leaping: Leaping = field(kw_only=True)

    def pause(self, wait: ThreadWait, seconds: float) -> None:
        """As ``Clock.pause``."""
        call_off = self.leaping.alarm(seconds, wait.wake)
        wait.wait(threading.TIMEOUT_MAX)
        call_off()

    async def apause(self, wait: TaskWait, seconds: float) -> None:
        """As ``Clock.apause``."""
        call_off = self.leaping.alarm(seconds, wait.wake)
        try:
            await wait.wait(math.inf)
        finally:
            call_off()
