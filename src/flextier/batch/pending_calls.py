"""The calls of one batch that have no outcome yet, and their lines on disk."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress

from flextier._utils.clock import Clock
from flextier.batch.enqueue_limit import tokens_of
from flextier.batch.future import BatchFuture, LineOutcome
from flextier.batch.spool_file import MAX_LINES, SpoolFile, line_of

Wakes = list[Callable[[], None]]
"""Functions that wake settled calls; to be run without the lock."""


class PendingCalls:
    """The waiting calls, by line. Methods marked *locked* are called with the lock held."""

    def __init__(
        self, lock: threading.Lock, clock: Clock, wake: Callable[[], None], *, gathers: bool
    ) -> None:
        """Start without calls.

        Args:
            lock: the manager's, which all of its batches share.
            clock: the calls'.
            wake: wakes the batch's thread.
            gathers: whether lines can be added; otherwise they were sent before.
        """
        self.lock = lock
        self.open = gathers
        """Whether lines may be added."""
        self.order: list[str] = []
        """The custom_ids of the file's lines."""
        self.spool = SpoolFile() if gathers else None
        self._clock = clock
        self._wake = wake
        self._waiting: dict[str, BatchFuture] = {}
        self._earliest = math.inf

    # --- joining ------------------------------------------------------------------------------

    def take(self, cancel_at: float, size: int, most: tuple[int, float], apart: float) -> bool:
        """Whether a call may join; closes the file if it is full: locked.

        A call with a much earlier deadline would have the batch cancelled for all of them.

        Args:
            cancel_at: time at which the call needs its batch cancelled.
            size: the bytes of its body.
            most: the bytes and the tokens that a file may have.
            apart: seconds by which ``cancel_at`` may differ in any case.
        """
        if not self.open or self.spool is None:
            return False
        whole = self.spool.size + size
        if self.spool.lines >= MAX_LINES or whole > most[0] or tokens_of(whole) > most[1]:
            self.close()
            return False
        ours = self._earliest
        if math.isinf(ours) or math.isinf(cancel_at):
            return ours == cancel_at or not self._waiting
        left = min(ours, cancel_at) - self._clock.now()
        return abs(ours - cancel_at) <= max(apart, left / 10)

    def add(self, future: BatchFuture, endpoint: str, body: bytes) -> None:
        """Write a call's line: locked.

        Raises:
            OSError: it cannot be written to the disk.
        """
        assert self.spool is not None
        future.span = self.spool.add(line_of(future.custom_id, endpoint, body))
        self.order.append(future.custom_id)
        self.wait_for(future)
        if self.spool.lines >= MAX_LINES:
            self.close()

    def wait_for(self, future: BatchFuture) -> None:
        """Add a call to its line, which others of the same request may wait for: locked."""
        before = self._waiting.get(future.custom_id)
        if before is not None:
            future.also, future.span = before, before.span
        self._waiting[future.custom_id] = future
        self._earliest = min(self._earliest, future.cancel_at)

    def inherit(self, others: PendingCalls, futures: Iterable[BatchFuture]) -> list[BatchFuture]:
        """Take over lines from another batch, with their calls: locked."""
        assert self.spool is not None
        assert others.spool is not None
        taken: list[BatchFuture] = []
        for future in futures:
            if others._waiting.pop(future.custom_id, None) is None:
                continue
            assert future.span is not None
            span = self.spool.add(others.spool.read(future.span))
            self.order.append(future.custom_id)
            self._waiting[future.custom_id] = future
            for one in future.all():
                one.span = span
                self._earliest = min(self._earliest, one.cancel_at)
                taken.append(one)
        return taken

    def close(self) -> None:
        """Accept no more lines: locked."""
        self.open = False
        self._wake()

    # --- leaving ------------------------------------------------------------------------------

    def left(self, future: BatchFuture) -> bool:
        """Remove a call; return whether its line may have been sent."""
        with self.lock:
            self._leave(future)
            if not self._waiting:
                self._wake()
            return not self.open

    def _leave(self, future: BatchFuture) -> None:
        first = self._waiting.get(future.custom_id)
        if first is future and future.also is not None:
            self._waiting[future.custom_id] = future.also
        elif first is future:
            del self._waiting[future.custom_id]
        elif first is not None:
            for one in first.all():
                if one.also is future:
                    one.also = future.also
                    return

    def abandon(self) -> None:
        """Drop all calls: locked."""
        self._waiting.clear()
        self.close()

    def settle(self, lines: Iterable[str] | None, outcome: LineOutcome) -> Wakes:
        """Set the outcome of these lines, or of all; return what wakes their calls: locked."""
        wakes: Wakes = []
        for custom_id in list(self._waiting) if lines is None else lines:
            future = self._waiting.pop(custom_id, None)
            if future is not None:
                wakes += filter(None, [one.settle(outcome) for one in future.all()])
        return wakes

    def resolve(self, outcome: LineOutcome, lines: Iterable[str] | None = None) -> None:
        """Set the outcome of these lines, or of all, and wake their calls."""
        with self.lock:
            wakes = self.settle(lines, outcome)
        wake_all(wakes)

    def compact(self) -> None:
        """Drop the lines that no call waits for: locked."""
        if len(self._waiting) == len(self.order):
            return
        old, self.spool, self.order = self.spool, SpoolFile(), []
        assert old is not None
        for future in self._waiting.values():
            assert future.span is not None
            span = self.spool.add(old.read(future.span))
            for one in future.all():
                one.span = span
            self.order.append(future.custom_id)
        old.close()

    # --- state --------------------------------------------------------------------------------

    @property
    def empty(self) -> bool:
        """Whether no call waits: locked."""
        return not self._waiting

    @property
    def futures(self) -> list[BatchFuture]:
        """The first future of each line: locked."""
        return list(self._waiting.values())

    @property
    def earliest(self) -> float:
        """The earliest ``cancel_at``; its call may have left since: locked."""
        return self._earliest

    @property
    def late(self) -> bool:
        """Whether a call needs the batch cancelled now: locked."""
        if self._earliest > self._clock.now():
            return False
        waiting = (one for future in self._waiting.values() for one in future.all())
        self._earliest = min((one.cancel_at for one in waiting), default=math.inf)
        return self._earliest <= self._clock.now()


def wake_all(wakes: Wakes) -> None:
    """Wake settled calls."""
    for wake in wakes:
        with suppress(RuntimeError):  # the event loop of the call has ended
            wake()
