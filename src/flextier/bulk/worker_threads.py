"""Threads for sync functions. They end with the process, whatever they wait for."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

_Job = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[[], Any]]


class WorkerThreads:
    """Runs functions in a bounded number of threads, each in a copy of the caller's context.

    The threads are daemons, unlike those of an executor: a run that is stopped at once must not
    wait for them.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._started = 0
        self._busy = 0

    async def run(self, function: Callable[[Any], Any], argument: Any) -> Any:
        """What the function returns."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        context = contextvars.copy_context()
        self._busy += 1
        if self._busy > self._started < self._most:
            self._started += 1
            threading.Thread(target=self._work, daemon=True, name="flextier-bulk").start()
        self._jobs.put((loop, done, lambda: context.run(function, argument)))
        try:
            return await done
        finally:
            self._busy -= 1

    def close(self) -> None:
        """Let the threads end when they have nothing left to do."""
        for _ in range(self._started):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            loop, done, call = job
            answer: Any = None
            error: BaseException | None = None
            if done.cancelled():
                continue
            try:
                answer = call()
            except BaseException as raised:  # noqa: BLE001 - it is the caller's, in the other thread
                error = raised
            if not loop.is_closed():
                loop.call_soon_threadsafe(_settle, done, answer, error)


def _settle(done: asyncio.Future[Any], answer: Any, error: BaseException | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(answer)
    elif isinstance(error, StopIteration):  # which no future takes
        done.set_exception(RuntimeError(f"the function raised {error!r}"))
    else:
        done.set_exception(error)
