"""Virtual time: an event loop whose clock jumps to the next timer when nothing else is to do.

What goes by the loop's time (``asyncio.sleep``, ``anyio.sleep``, timeouts, cancel scopes,
``call_later``) runs on it unmodified, hours of it in a second, and in the same order each time.

Not for sockets, subprocesses or threads: nothing outside of the loop can wake it up. What would go
to a thread (``run_in_executor``, ``asyncio.to_thread``) is done at once, on the loop itself.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from contextvars import Context
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")

# Nanoseconds, the resolution of the loop's own clock: rounded to them, 0.1 + 0.2 is 0.3.
_DIGITS = 9


class VirtualDeadlockError(RuntimeError):
    """Every task waits for something that no timer will ever bring about."""


class _JumpingSelector(selectors.SelectSelector):
    """Where a loop would wait, time goes by instead."""

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
            # Forward by a nanosecond at least: a timer due in less may look at the time again.
            self.time = round(max(self.time + timeout, self.time + 10**-_DIGITS), _DIGITS)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time, which begins at 0 seconds.

    Raises:
        VirtualDeadlockError: From ``run_until_complete`` and ``run_forever``: nothing is ready and
            no timer is left. A real loop would hang.
    """

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
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
    """Run ``main()`` on a loop of its own in virtual time; returns its result.

    It sees nothing of the context around it: no ``track()``, ``override()`` or ``budget()`` block.
    Inside a running event loop, it runs in a thread, and that loop waits meanwhile.

    Args:
        main: Makes the coroutine to run; called on the new loop's thread.

    Raises:
        VirtualDeadlockError: every task waits without end.
    """
    return _in_thread(main) if _loop_runs() else Context().run(_run, main)


def _loop_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main())
    finally:
        try:
            _end_tasks(loop)
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()


def _end_tasks(loop: VirtualLoop) -> None:
    """Cancel what is left, as ``asyncio.run`` does."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))


def _in_thread(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(Context().run(_run, main))
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            errors.append(error)

    thread = Thread(target=work, name="flextier-rehearsal")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
