"""How a run is brought to an end: first gently, then at once."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flextier.bulk.result import Reason

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_MOST = 2
"""Signals that the loop handles. If it has not ended by the next, a row blocks it."""


class StopSignal:
    """Whether a run is to end, and why.

    Args:
        on_soon: called once, when no new row is to be started.
        on_now: called once, when running rows are to be abandoned.
    """

    def __init__(self, on_soon: Callable[[], None], on_now: Callable[[], None]) -> None:
        self._on_soon = on_soon
        self._on_now = on_now
        self.reason: Reason | None = None
        """Why no new row is begun; None: rows are."""
        self.is_now = False

    def soon(self, reason: Reason) -> None:
        """Begin no new row, finish those under way."""
        if self.reason is None:
            self.reason = reason
            self._on_soon()

    def now(self) -> None:
        """Give up the rows under way, too."""
        self.soon("interrupted")
        if not self.is_now:
            self.is_now = True
            self._on_now()

    def interrupt(self) -> None:
        """A signal: the first one means soon, the next one now."""
        if self.reason == "interrupted":
            self.now()
        elif self.reason is None:
            self.soon("interrupted")
        else:  # it drains for another reason: now for this one
            self.reason = "interrupted"
            self._on_soon()


@contextmanager
def heeding_signals(stop: StopSignal) -> Iterator[None]:
    """Ctrl-C and SIGTERM stop the run, while this lasts. Only the main thread receives signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    received = 0

    def interrupt(*_: object) -> None:
        nonlocal received
        received += 1
        if received > _MOST:
            raise KeyboardInterrupt
        loop.call_soon_threadsafe(stop.interrupt)

    # Plain handlers, which are there on Windows, too; the loop may be asleep when they run.
    usual = [signal.signal(number, interrupt) for number in _SIGNALS]
    try:
        yield
    finally:
        for number, handler in zip(_SIGNALS, usual, strict=True):
            signal.signal(number, handler)
