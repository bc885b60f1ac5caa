"""The calls of one batch that have no outcome yet, and their lines on disk."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from flextier._openai.public_names import Batch
from flextier._utils.clock import Clock
from flextier._utils.formatting import count, plain
from flextier.batch.future import BatchFuture, LineOutcome
from flextier.batch.spool_file import MAX_LINES, SpoolFile, estimated_tokens, line_of
from flextier.calls.gathered_lines import INFO, LINES, LOG
from flextier.journal import Journal
from flextier.policy import FlexPolicy

Wakes = list[Callable[[], None]]
"""Functions that wake settled calls; to be run without the lock."""


@dataclass(frozen=True, slots=True)
class GroupKey:
    """The endpoint, model, policy and journal that all calls of one batch share."""

    base_url: str
    endpoint: str
    """With ``/v1``, as the Batch API requires."""
    model: str
    clock: Clock
    policy: FlexPolicy
    """Without its deadline: a batch may have calls with several deadlines."""
    journal: Journal | None

    def backoff(self, attempts: int) -> float:
        """Seconds to wait after ``attempts`` failed attempts."""
        return self.clock.random() * self.policy.backoff(attempts)

    def log(self, what: str, batch: Batch, more: str = "") -> None:
        """Write an event of a batch to the log, such as ``"polled"``."""
        if not LOG.isEnabledFor(INFO):
            return
        done, counts = "", batch.request_counts
        if counts and counts.total:
            done = f", {counts.completed:,} of {count(counts.total, 'line')} done"
        line = f"batch {batch.id} {'is' if what == 'polled' else f'{what}:'} {batch.status}{done}"
        where = (self.base_url, plain(self.model, 80))
        kinds = (f"batch {what}", f"batches {what}")
        LINES.event(where, self.clock.now(), kinds, line + more)


@dataclass(eq=False)
class PendingCalls:
    """The waiting calls, by line. Methods marked *locked* are called with the lock held."""

    lock: threading.Lock
    """The account's, which all of its batches share."""
    clock: Clock
    wake: Callable[[], None]
    """Wakes the batch's thread."""
    open: bool
    """Whether lines may be added; if not from the start, they were sent before."""
    order: list[str] = field(default_factory=list)
    """The custom_ids of the file's lines."""
    earliest_cancel: float = math.inf
    """The earliest ``cancel_at``; its call may not wait any more."""

    def __post_init__(self) -> None:
        self.spool = SpoolFile() if self.open else None
        self._waiting: dict[str, list[BatchFuture]] = {}

    def accepts(
        self, cancel_at: float, size: int, limits: tuple[int, float], max_gap: float
    ) -> bool:
        """Whether a call may join; closes the file if it is full: locked.

        A call with a much earlier deadline would have the batch cancelled for all of them:
        ``cancel_at`` may differ by ``max_gap`` seconds, or a tenth of the time left. ``size`` is
        that of its body, ``limits`` are the bytes and the tokens of a file.
        """
        if not self.open or self.spool is None:
            return False
        max_bytes, max_tokens = limits
        size += self.spool.size
        if size > max_bytes or estimated_tokens(size) > max_tokens:
            self.close()
            return False
        earliest = self.earliest_cancel
        if math.isinf(earliest) or math.isinf(cancel_at):
            return earliest == cancel_at or not self._waiting
        left = min(earliest, cancel_at) - self.clock.now()
        return abs(earliest - cancel_at) <= max(max_gap, left / 10)

    def add(self, future: BatchFuture, endpoint: str, body: bytes) -> None:
        """Write a call's line to the disk: locked."""
        assert self.spool is not None
        future.span = self.spool.add(line_of(future.custom_id, endpoint, body))
        self.order.append(future.custom_id)
        self.add_waiter(future)
        if self.spool.lines >= MAX_LINES:
            self.close()

    def add_waiter(self, future: BatchFuture) -> None:
        """Add a call to its line, which calls with the same request may wait for: locked."""
        future.calls = self
        waiting = self._waiting.setdefault(future.custom_id, [])
        if waiting:
            future.span = waiting[0].span
        waiting.append(future)
        self.earliest_cancel = min(self.earliest_cancel, future.cancel_at)

    def waits_for(self, custom_id: str) -> bool:
        """Whether a call waits for a line: locked."""
        return custom_id in self._waiting

    def take_over(self, others: PendingCalls, futures: Iterable[BatchFuture]) -> None:
        """Move lines of another batch, and their calls, to this one: locked."""
        assert others.spool is not None
        for custom_id in (future.custom_id for future in futures):
            if custom_id in others._waiting:
                self._copy_line(others.spool, others._waiting[custom_id])
                self._waiting[custom_id] = others._waiting.pop(custom_id)
                for one in self._waiting[custom_id]:
                    one.calls = self
                    self.earliest_cancel = min(self.earliest_cancel, one.cancel_at)

    def _copy_line(self, source: SpoolFile, waiting: list[BatchFuture]) -> None:
        assert self.spool is not None
        assert waiting[0].span is not None
        span = self.spool.add(source.read(waiting[0].span))
        self.order.append(waiting[0].custom_id)
        for one in waiting:
            one.span = span

    def close(self) -> None:
        """Accept no more lines: locked."""
        self.open = False
        self.wake()

    def remove(self, future: BatchFuture) -> bool:
        """Remove a call; return whether its line may have been sent."""
        with self.lock:
            waiting = self._waiting.get(future.custom_id, [])
            if future in waiting:
                waiting.remove(future)
            if not waiting:
                self._waiting.pop(future.custom_id, None)
            if not self._waiting:
                self.wake()
            return not self.open

    def abandon(self) -> None:
        """Drop all calls: locked."""
        self._waiting.clear()
        self.close()

    def settle(self, lines: Iterable[str] | None, outcome: LineOutcome) -> Wakes:
        """Set the outcome of these lines, or of all; return what wakes their calls: locked."""
        wakes: Wakes = []
        for custom_id in list(self._waiting) if lines is None else lines:
            waiting = self._waiting.pop(custom_id, ())
            wakes += filter(None, [future.settle(outcome) for future in waiting])
        return wakes

    def settle_and_wake(self, outcome: LineOutcome, lines: Iterable[str] | None = None) -> None:
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
        for waiting in self._waiting.values():
            self._copy_line(old, waiting)
        old.close()

    @property
    def is_empty(self) -> bool:
        """Whether no call waits: locked."""
        return not self._waiting

    @property
    def futures(self) -> list[BatchFuture]:
        """The first future of each line: locked."""
        return [waiting[0] for waiting in self._waiting.values()]

    @property
    def is_overdue(self) -> bool:
        """Whether a call needs the batch cancelled now: locked."""
        if self.earliest_cancel > self.clock.now():
            return False
        times = (one.cancel_at for waiting in self._waiting.values() for one in waiting)
        self.earliest_cancel = min(times, default=math.inf)
        return self.earliest_cancel <= self.clock.now()


def wake_all(wakes: Wakes) -> None:
    """Wake settled calls."""
    for wake in wakes:
        with suppress(RuntimeError):  # the event loop of the call has ended
            wake()
