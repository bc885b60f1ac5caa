"""Calls that wait for background responses, by their HTTP client.

Closing a client cancels their responses at the server first; ``detach`` leaves the responses
running, if a journal has them.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio

from flextier._utils.fork import after_fork_in_child

if TYPE_CHECKING:
    from flextier.background.lifecycle import BackgroundLifecycle

_CLOSE_TIMEOUT = 10.0
"""The most seconds that closing a client waits for cancellations."""

_CHECK_INTERVAL = 0.01
"""Seconds between two checks of whether they have ended."""


class ClientWaiters:
    """The waiting calls of one HTTP client. Threads and event loops share it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # the garbage collector may end a call while it is held
        self._waiting: set[BackgroundLifecycle] = set()
        self._closed = False

    @contextmanager
    def registered(self, waiter: BackgroundLifecycle, wake: Callable[[], None]) -> Iterator[None]:
        """Count a call as waiting during the context; ``wake`` ends its pauses."""
        waiter.wake = wake
        with self._lock:
            self._waiting.add(waiter)
            closed = self._closed
        if closed:
            waiter.stop("closed")
        try:
            yield
        finally:
            with self._lock:
                self._waiting.discard(waiter)

    def stop(self, why: str, *, submitted: bool = False) -> int:
        """End all waits (``"closed"``), or those of journaled calls (``"detached"``); how many.

        ``submitted``: only those whose response is known not to have ended.
        """
        with self._lock:
            self._closed = self._closed or why == "closed"
            waiting = [x for x in self._waiting if why == "closed" or x.entry is not None]
            waiting = [x for x in waiting if x.is_submitted or not submitted]
        notified = set()
        for waiter in waiting:
            with suppress(RuntimeError):  # its event loop has ended
                waiter.stop(why)
                notified.add(waiter)
        with self._lock:
            self._waiting.difference_update(set(waiting) - notified)
        return len(notified)

    @property
    def empty(self) -> bool:
        """Whether no call waits."""
        return not self._waiting


_BY_CLIENT: weakref.WeakKeyDictionary[Any, ClientWaiters] = weakref.WeakKeyDictionary()
_LOCK = threading.Lock()


def waiters_of(http_client: Any) -> ClientWaiters:
    """The waiting calls of this HTTP client."""
    with _LOCK:
        return _BY_CLIENT.setdefault(http_client, ClientWaiters())


def stop_waiters(http_client: Any) -> ClientWaiters | None:
    """Stop the waiting calls of a client that is to be closed; None if there are none."""
    waiters = _BY_CLIENT.get(http_client) if _BY_CLIENT else None
    return waiters if waiters is not None and waiters.stop("closed") else None


def wait_stopped(waiters: ClientWaiters) -> None:
    """Wait until their responses are cancelled, or for ten seconds."""
    until = time.monotonic() + _CLOSE_TIMEOUT
    while not waiters.empty and time.monotonic() < until:
        time.sleep(_CHECK_INTERVAL)


async def await_stopped(waiters: ClientWaiters) -> None:
    """The async form of :func:`wait_stopped`."""
    with anyio.move_on_after(_CLOSE_TIMEOUT):
        while not waiters.empty:
            await anyio.sleep(_CHECK_INTERVAL)


def detach(*, submitted: bool = False) -> int:
    """Detach all calls whose responses a journal has; return how many.

    ``submitted``: only those whose response is known not to have ended.
    """
    with _LOCK:
        all_waiters = list(_BY_CLIENT.values())
    return sum(waiters.stop("detached", submitted=submitted) for waiters in all_waiters)


def _reset() -> None:
    """Start empty: waiting calls belong to the parent process."""
    global _LOCK
    _LOCK = threading.Lock()
    _BY_CLIENT.clear()


after_fork_in_child(_reset)
