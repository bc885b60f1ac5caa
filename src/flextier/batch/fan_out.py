"""Detects callers with few calls in flight, whose batches run one after the other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from flextier._utils.safe_warn import safe_warn
from flextier.batch.pending_calls import PendingCalls

_FEW_LINES = 100
_FOLLOWS_WITHIN = 60.0
"""Seconds from the end of a batch to a call that its caller makes next."""
_FILES = 2


@dataclass(slots=True)
class FanOut:
    """The batches of one endpoint and model: whether each begins with the answers of the last."""

    _last: PendingCalls | None = None
    """The calls of the last batch, until it has ended."""
    _lines: int = 0
    _ended_at: float = -math.inf
    _followed: int = 0

    def batch_begins(self, calls: PendingCalls, now: float) -> None:
        """Warn if this batch, like two before it, is one of few calls that follow the last one."""
        if self._last is None:
            lines, follows = self._lines, now - self._ended_at <= _FOLLOWS_WITHIN
        else:
            lines = len(self._last.order)
            follows = len(self._last.futures) < lines  # it has its first answers
        few = 1 < lines <= _FEW_LINES
        self._followed = self._followed + 1 if follows and few else 0
        if self._followed == _FILES:
            _warn(lines)
        self._last = calls

    def batch_ended(self, calls: PendingCalls, now: float) -> None:
        """Take note of a batch that has ended."""
        if calls is self._last:
            self._last, self._lines, self._ended_at = None, len(calls.order), now


@lru_cache(maxsize=1)  # once in a process
def _warn(lines: int) -> None:
    safe_warn(
        f"batches of {lines} calls run one after the other, each of which may take 24 hours: only "
        "calls that are made at once share a batch. Make more of them at once (max_concurrency in "
        "LangChain, workers and num_workers in LlamaIndex), or use flextier.bulk"
    )
