"""Calls that wait for background responses, by their HTTP client.

Closing a client cancels their responses at the server first; ``detach`` leaves the responses
running, if a journal knows them.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import anyio

from flextier._utils.fork import after_fork_in_child

_LONGEST = 10.0
"""The most seconds that closing a client waits for cancellations."""

_LOOK = 0.01


class Waiter(Protocol):
    """The lifecycle of a response that a call waits for."""

    news: Any

    @property
    def is_known(self) -> bool:
        """Whether a journal knows the response."""

    def stop(self, why: str) -> None:
        """End the wait soon."""


class ClientWaiters:
    """The waiting calls of one HTTP client. Threads and event loops share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: set[Waiter] = set()
        self._closed = False

    @contextmanager
    def counting(self, course: Waiter, wake: Callable[[], None]) -> Iterator[None]:
        """Count a call as waiting during the context; ``wake`` ends its pauses."""
        course.news = wake
        with self._lock:
            self._waiting.add(course)
            closed = self._closed
        if closed:
            course.stop("closed")
        try:
            yield
        finally:
            with self._lock:
                self._waiting.discard(course)

    def stop(self, why: str) -> int:
        """End all waits, or only those a journal knows (``"detached"``); return how many."""
        with self._lock:
            self._closed = self._closed or why == "closed"
            waiting = [x for x in self._waiting if why == "closed" or x.is_known]
        notified = [course for course in waiting if _notify(course, why)]
        with self._lock:
            self._waiting.difference_update(set(waiting).difference(notified))
        return len(notified)

    @property
    def empty(self) -> bool:
        """Whether no call waits."""
        return not self._waiting


def _notify(course: Waiter, why: str) -> bool:
    """Stop a wait; return False if its event loop has ended."""
    try:
        course.stop(why)
    except RuntimeError:
        return False
    return True


_BY_CLIENT: weakref.WeakKeyDictionary[Any, ClientWaiters] = weakref.WeakKeyDictionary()
_LOCK = threading.Lock()


def pending_of(http_client: Any) -> ClientWaiters:
    """The waiting calls of this HTTP client."""
    with _LOCK:
        pending = _BY_CLIENT.get(http_client)
        if pending is None:
            pending = _BY_CLIENT[http_client] = ClientWaiters()
        return pending


def left(http_client: Any) -> ClientWaiters | None:
    """Stop the waiting calls of a client that is to be closed; None if there are none."""
    pending = _BY_CLIENT.get(http_client) if _BY_CLIENT else None
    return pending if pending is not None and pending.stop("closed") else None


def await_left(pending: ClientWaiters) -> None:
    """Wait until their responses are cancelled, or for ten seconds."""
    until = time.monotonic() + _LONGEST
    while not pending.empty and time.monotonic() < until:
        time.sleep(_LOOK)


async def aawait_left(pending: ClientWaiters) -> None:
    """The async form of :func:`await_left`."""
    with anyio.move_on_after(_LONGEST):
        while not pending.empty:
            await anyio.sleep(_LOOK)


def detach() -> int:
    """Detach all calls whose responses a journal knows; return how many."""
    with _LOCK:
        everyone = list(_BY_CLIENT.values())
    return sum(pending.stop("detached") for pending in everyone)


def _forget_all() -> None:
    """Start empty: waiting calls belong to the parent process."""
    global _LOCK
    _LOCK = threading.Lock()
    _BY_CLIENT.clear()


after_fork_in_child(_forget_all)
