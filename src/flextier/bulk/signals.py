"""Stopping a run: first it drains (rows in flight are finished), then it aborts."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from flextier.bulk.result import Reason

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_MAX_SIGNALS = 2
"""Signals that the event loop handles. If it still runs at the next one, a row blocks it."""


@dataclass
class StopSignal:
    """Whether a run is stopping, and why."""

    on_drain: Callable[[], None]
    """Called when no new row may begin."""
    on_abort: Callable[[], None]
    """Called once, when the rows in flight are to be abandoned."""
    reason: Reason | None = None
    """Why no new row begins; None: rows still begin."""
    is_aborted: bool = False

    def drain(self, reason: Reason) -> None:
        """Begin no new row; finish those in flight."""
        if self.reason is None:
            self.reason = reason
            self.on_drain()

    def abort(self) -> None:
        """Abandon the rows in flight, too."""
        self.drain("interrupted")
        if not self.is_aborted:
            self.is_aborted = True
            self.on_abort()

    def interrupt(self) -> None:
        """Handle a signal: drain at the first one, abort at the next."""
        if self.reason == "interrupted":
            self.abort()
        elif self.reason is None:
            self.drain("interrupted")
        else:  # it is draining for another reason
            self.reason = "interrupted"
            self.on_drain()


@contextmanager
def stop_on_signals(stop: StopSignal) -> Iterator[None]:
    """Stop the run on Ctrl-C and SIGTERM; no effect outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    received = 0

    def interrupt(*_: object) -> None:
        nonlocal received
        received += 1
        if received > _MAX_SIGNALS:
            raise KeyboardInterrupt
        loop.call_soon_threadsafe(stop.interrupt)

    # Not loop.add_signal_handler, which Windows lacks. The loop may be asleep: wake it.
    previous = [signal.signal(number, interrupt) for number in _SIGNALS]
    try:
        yield
    finally:
        for number, handler in zip(_SIGNALS, previous, strict=True):
            signal.signal(number, handler)
