"""One call's entry in the journal: claimed when the call begins, released when it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from flextier._openai.compat import LegacyAPIResponse, dumps
from flextier._openai.response_metadata import json_of
from flextier._utils.clock import Clock
from flextier._utils.safe_warn import safe_warn
from flextier.journal import JournalError, JournalWarning, journal_at
from flextier.journal.cache_key import cache_key
from flextier.journal.records import (
    AcceptedResponse,
    BatchPlace,
    JournaledResponse,
    JournalEntry,
)
from flextier.lanes import BATCH, CallFacts, Lane, background_lane
from flextier.policy import FlexPolicy

_MIN_INTERVAL, _MAX_INTERVAL = 0.05, 2.0
"""Seconds between two checks whether another process has the response."""


class CallEntry:
    """The journal's entry of one call. Not shared between calls; the journal is."""

    __slots__ = ("_clock", "_interval", "_is_stale", "_policy", "_settled", "entry", "journal")

    def __init__(self, base_url: str, asked: CallFacts, policy: FlexPolicy, clock: Clock) -> None:
        """Find the entry of the call, or create it.

        Raises:
            JournalError: the journal cannot be used. Nothing was sent.
        """
        assert policy.journal is not None
        self.journal = journal_at(policy.journal)
        self._policy = policy
        self._clock = clock
        self._interval = _MIN_INTERVAL
        self._is_stale = False
        self._settled = False
        key = cache_key(base_url, asked.endpoint, dumps(asked.body), policy.journal_namespace)
        once = policy.journal_duplicates == "once"
        collected = CALL_ENTRIES.get()
        try:
            self.entry: JournalEntry = self.journal.take(key, once=once, ttl=policy.journal_ttl)
        except JournalError as error:
            if collected is not None:
                collected.error = error
            raise
        if collected is not None:
            collected.error = None
        if collected is not None and not once:  # a shared entry is never used up
            collected.append(self)

    @property
    def answer(self) -> JournaledResponse | None:
        """The response that the journal has; None: it has none."""
        return self.entry.answer

    @property
    def place(self) -> BatchPlace | None:
        """The line of a batch that the call is in; None: it is in none."""
        return self.entry.place if self.entry.state == "batched" else None

    @property
    def background_response(self) -> AcceptedResponse | None:
        """The background response of the call; None: it has none."""
        return self.entry.background_response if self.entry.state == "background" else None

    @property
    def pending_lane(self) -> Lane | None:
        """The deferred lane on which the call was submitted before; None: it was not."""
        if self.place is not None:
            return BATCH
        if (accepted := self.background_response) is None:
            return None
        return background_lane(accepted.lane)

    def accepted(self, response_id: str, lane: str, model: str) -> None:
        """Record that the call is a background response now; a failed write is only warned of."""
        accepted = AcceptedResponse(response_id, lane)
        key, n = self.entry.key, self.entry.n
        self.entry = JournalEntry(key, n, "background", background_response=accepted)
        with _warns_on_failure("a background response is not in the journal"):
            self.journal.accepted(self.entry, model, accepted)

    def discard_background(self) -> None:
        """Discard the call's background response: the call is sent again."""
        self._set_ours()
        with _warns_on_failure("a discarded background response stays in the journal"):
            self.journal.discard_background(self.entry)

    def batch_line_failed(self) -> None:
        """Note that the call's line of a batch failed: any call may claim the entry now."""
        self._is_stale = True

    def stop_waiting(self) -> None:
        """Wait no longer for another call's response, or for the batch: send the call itself."""
        self._set_ours()
        self._is_stale = False

    def _set_ours(self) -> None:
        self.entry = JournalEntry(self.entry.key, self.entry.n, "ours")

    def refresh(self) -> None:
        """Claim the entry again if it may have changed."""
        if self._is_stale:
            self._claim()
            self._is_stale = False

    def _claim(self) -> None:
        self.entry = self.journal.claim(self.entry, ttl=self._policy.journal_ttl)

    def recheck(self, until: float) -> float:
        """Seconds until the next check for another call's response; 0: stop waiting.

        Args:
            until: time at which the call stops waiting and is sent itself.
        """
        if self.is_busy:
            self._claim()
        if not self.is_busy:
            return 0.0
        left = until - self._clock.now()
        if left <= 0:
            self.stop_waiting()
            return 0.0
        self._interval = min(self._interval * 1.5, _MAX_INTERVAL)
        return min(self._interval, left)

    @property
    def is_busy(self) -> bool:
        """Whether another call is making the same request now, and will have the response."""
        return self.entry.state == "busy"

    @property
    def paid_before(self) -> bool:
        """Whether an earlier run paid for the response, which is replayed or fetched again."""
        return self.entry.answer is not None or self.entry.fetched_again

    @property
    def is_answered(self) -> bool:
        """Whether the call has its response."""
        return self._settled or self.entry.answer is not None

    def collected(self) -> None:
        """Note that the response came from a batch, whose collection wrote it to the journal."""
        self._settled = True

    def answered(self, lane: str, model: str, answer: Any, request_id: str | None) -> None:
        """Write the response, or its JSON, served on ``lane``; a failed write is only warned of."""
        keep = self._policy.journal_store_responses
        with _warns_on_failure("a response is not in the journal"):
            response = JournaledResponse(lane, 200, request_id, _bytes_of(answer))
            self.journal.answered(self.entry, model, response, keep_answer=keep)
            self._settled = True

    def stream_opened(self) -> None:
        """Note that the caller reads the response as a stream now."""
        self.journal.open_streams.add((self.entry.key, self.entry.n))

    def release(self) -> None:
        """End the call; without a response, the next call with the same key is sent again."""
        self.journal.open_streams.discard((self.entry.key, self.entry.n))
        if self.is_answered:
            return
        with _warns_on_failure("a failed call stays in the journal"):
            self.journal.release(self.entry, ours=self.entry.state in ("ours", "background"))


class CallEntries(list[CallEntry]):
    """The entries of the calls of one task, in the order in which the calls began."""

    __slots__ = ("error",)

    def __init__(self) -> None:
        super().__init__()
        self.error: JournalError | None = None
        """Why the last call was not sent: the journal could not be used. None: it could."""


CALL_ENTRIES: ContextVar[CallEntries | None] = ContextVar("flextier_call_entries", default=None)
"""A list that the entries of the calls made here are added to; None: they are not collected."""


@contextmanager
def _warns_on_failure(consequence: str) -> Iterator[None]:
    try:
        yield
    except (JournalError, ValueError, RecursionError) as error:  # or nested beyond all limits
        safe_warn(f"{consequence}: {error}", JournalWarning)


def _bytes_of(answer: Any) -> bytes:
    if isinstance(answer, LegacyAPIResponse):
        content: bytes = answer.http_response.content
        return content
    return answer if isinstance(answer, bytes) else json_of(answer)
