"""Virtual time: an event loop whose clock jumps to the next timer when no task is ready.

Code that uses the loop's time (``asyncio.sleep``, ``anyio.sleep``, timeouts, cancel scopes,
``call_later``) runs unmodified, hours of it in a second, and in the same order each time.

Not for sockets, subprocesses or threads: nothing outside the loop can wake it up. Work for a thread
(``run_in_executor``, ``asyncio.to_thread``) runs at once, on the loop itself.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")

# Times are rounded to nanoseconds, the resolution of a real loop's clock: 0.1 + 0.2 is 0.3.
_DIGITS = 9


class VirtualDeadlockError(RuntimeError):
    """All tasks wait, and no timer is left that could wake one of them."""


class _JumpingSelector(selectors.SelectSelector):
    """Advances the virtual time instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise VirtualDeadlockError(
                f"at {self.time:g} s of virtual time every task waits, and no timer is left that "
                "could wake one up; sockets and threads cannot be waited for in virtual time"
            )
        if timeout > 0:
            # At least one nanosecond, so that timers due in less see a later time.
            self.time = round(max(self.time + timeout, self.time + 10**-_DIGITS), _DIGITS)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time, which starts at 0 seconds.

    Where a real loop would hang, as no timer is left, it raises a ``VirtualDeadlockError``.
    """

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Virtual seconds since the loop was created."""
        return self._jumping.time

    def run_in_executor(  # type: ignore[override]  # typeshed's generic over the arguments
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Call ``func`` now, on this thread; a future that is done."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - raised where the future is awaited
            future.set_exception(error)
        return future


def run_virtually(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run ``main()`` on a new loop in virtual time; returns its result.

    It runs in an empty context, without the ``track()``, ``override()`` or ``budget()`` blocks
    around it. Inside a running event loop, it runs in a thread and blocks that loop.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return Context().run(_run, main)
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(Context().run, _run, main).result()


def _run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main())
    finally:
        try:  # as asyncio.run does
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()
