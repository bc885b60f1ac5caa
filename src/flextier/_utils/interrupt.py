"""Ctrl-C for sync calls in worker threads: Python raises ``KeyboardInterrupt`` in the main thread
only, where an executor then waits for its threads."""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401 - registers its own end first, see below
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakSet

_POLL_INTERVAL = 0.5
_interrupts: WeakSet[Interrupt] = WeakSet()


class Interrupt:
    """Ends sync calls: their waits, and reads of their responses.

    It takes no lock, as a signal handler sets it.
    """

    def __init__(self) -> None:
        self.is_set = False
        self.waits: set[Callable[[], None]] = set()
        """What wakes the threads that wait."""
        _interrupts.add(self)

    def set(self) -> None:
        """End the calls: each raises ``KeyboardInterrupt`` in its thread."""
        self.is_set = True
        for wake in tuple(self.waits):
            wake()

    def raise_if_set(self) -> None:
        """Raise ``KeyboardInterrupt`` if the calls are to end."""
        if self.is_set:
            raise KeyboardInterrupt

    def polled(self, stalls_in: Callable[[], float] | None) -> Callable[[], float]:
        """``stalls_in`` of an attempt, which also ends it when this is set."""

        def stalls_or_interrupted_in() -> float:
            self.raise_if_set()
            return _POLL_INTERVAL if stalls_in is None else min(_POLL_INTERVAL, stalls_in())

        return stalls_or_interrupted_in


NO_BLOCK = Interrupt()
"""Of calls outside of any :func:`interruptible` block."""

INTERRUPT: ContextVar[Interrupt] = ContextVar("flextier_interrupt", default=NO_BLOCK)
"""What ends the sync calls of the running context."""


@contextmanager
def interruptible(interrupt: Interrupt) -> Iterator[None]:
    """Have Ctrl-C end the sync calls begun inside, in threads that carry the context along.

    Meanwhile, the main thread's handler of SIGINT is replaced by one that calls it, as
    ``asyncio.run`` does. In another thread, the block does nothing.
    """
    previous = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(previous):
        yield
        return

    def handle(number: int, frame: Any) -> None:
        interrupt.set()
        previous(number, frame)

    try:
        signal.signal(signal.SIGINT, handle)
    except ValueError:  # the main thread of a subinterpreter
        yield
        return
    token = INTERRUPT.set(interrupt)
    try:
        yield
    finally:
        INTERRUPT.reset(token)
        signal.signal(signal.SIGINT, previous)


def _at_exit() -> None:
    """End all sync calls, if Ctrl-C has ended the main thread; before threads are joined."""
    if getattr(sys, "last_type", None) is KeyboardInterrupt and not hasattr(sys, "ps1"):
        for interrupt in tuple(_interrupts):
            interrupt.set()


# The last registered is called first: before the threads of executors are joined.
if (register := getattr(threading, "_register_atexit", None)) is not None:
    register(_at_exit)
