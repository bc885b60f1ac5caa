"""One call's place in the journal: found at the start, kept up to date, left at the end."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from flextier._openai.compat import LegacyAPIResponse, dumps
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
from flextier.lanes import BACKGROUND_FLEX, BATCH, FLEX, LANES, CallFacts, Lane
from flextier.policy import FlexPolicy

_SOONEST, _LATEST = 0.05, 2.0
"""Seconds between two checks of a call that another process makes."""


CALL_ENTRIES: ContextVar[list[CallEntry] | None] = ContextVar("flextier_call_entries", default=None)
"""Where the running code collects what the journal knows of its calls, in their order."""


class CallEntry:
    """What the journal knows of one call. Not shared; the journal is."""

    __slots__ = ("_clock", "_look_in", "_policy", "_settled", "_stale", "entry", "journal")

    def __init__(self, base_url: str, asked: CallFacts, policy: FlexPolicy, clock: Clock) -> None:
        """Find the call, or enter it.

        Raises:
            JournalError: the journal cannot be used. Nothing was sent.
        """
        assert policy.journal is not None
        self.journal = journal_at(policy.journal)
        self._policy = policy
        self._clock = clock
        self._look_in = _SOONEST
        self._stale = False
        self._settled = False
        key = cache_key(base_url, asked.endpoint, dumps(asked.body), policy.journal_namespace)
        once = policy.journal_duplicates == "once"
        self.entry: JournalEntry = self.journal.take(key, once=once, keep=policy.journal_ttl)
        collected = CALL_ENTRIES.get()
        if collected is not None and not once:  # a shared entry is never used up
            collected.append(self)

    @property
    def answer(self) -> JournaledResponse | None:
        """The answer that was paid for before."""
        return self.entry.answer

    @property
    def place(self) -> BatchPlace | None:
        """The line of a batch that the call is in."""
        return self.entry.place if self.entry.state == "batched" else None

    @property
    def running(self) -> AcceptedResponse | None:
        """The background response that the call is."""
        return self.entry.running if self.entry.state == "background" else None

    @property
    def underway(self) -> Lane | None:
        """Where the call was sent before, and waits to be fetched."""
        if self.place is not None:
            return BATCH
        if self.running is None:
            return None
        return BACKGROUND_FLEX if self.running.lane == FLEX.name else LANES.get(self.running.lane)

    def accepted(self, response_id: str, lane: str, model: str) -> None:
        """The call is a background response now. If that cannot be written, it goes on unknown."""
        running = AcceptedResponse(response_id, lane)
        self.entry = JournalEntry(self.entry.key, self.entry.n, "background", running=running)
        try:
            self.journal.accepted(self.entry, model, running)
        except JournalError as error:
            safe_warn(f"a background response is not remembered: {error}", JournalWarning)

    def called_off(self) -> None:
        """The background response has failed: the call is to be made again."""
        self.entry = JournalEntry(self.entry.key, self.entry.n, "ours")
        try:
            self.journal.called_off(self.entry)
        except JournalError as error:
            safe_warn(f"a background response stays in the journal: {error}", JournalWarning)

    def lost(self) -> None:
        """The line of a batch that the call was in came to nothing: it may be anybody's now."""
        self._stale = True

    def take_over(self) -> None:
        """The call waits no more for others, or for its batch, whatever has become of them."""
        self.entry = JournalEntry(self.entry.key, self.entry.n, "ours")
        self._stale = False

    def refresh(self) -> None:
        """How it stands now, if that can have changed."""
        if self._stale:
            self.entry = self.journal.claim(self.entry, keep=self._policy.journal_ttl)
            self._stale = False

    def look(self, until: float) -> float:
        """Seconds until the journal should be checked again for another call's response; 0: go on.

        Args:
            until: when the call does not wait for others any more.
        """
        if self.entry.state == "busy":
            self.entry = self.journal.claim(self.entry, keep=self._policy.journal_ttl)
        if self.entry.state != "busy":
            return 0.0
        left = until - self._clock.now()
        if left <= 0:
            self.take_over()
            return 0.0
        self._look_in = min(self._look_in * 1.5, _LATEST)
        return min(self._look_in, left)

    @property
    def is_busy(self) -> bool:
        """Whether another call is making the same request now, and will have the response."""
        return self.entry.state == "busy"

    @property
    def paid_before(self) -> bool:
        """Whether the answer was paid for in an earlier run, and is only fetched once more."""
        return self.entry.answer is not None or self.entry.fetched_again

    @property
    def is_answered(self) -> bool:
        """Whether the call has its answer."""
        return self._settled or self.entry.answer is not None

    def collected(self) -> None:
        """The call was answered in a batch, and is in the journal by now."""
        self._settled = True

    def answered(self, lane: str, model: str, answer: Any, request_id: str | None) -> None:
        """The call was answered on ``lane``. A journal that cannot be written harms no answer."""
        self._settled = True
        body = _bytes_of(answer)
        said = JournaledResponse(lane, 200, request_id, body)
        try:
            self.journal.answered(
                self.entry, model, said, keep_answer=self._policy.journal_store_responses
            )
        except JournalError as error:
            safe_warn(f"an answer is not remembered: {error}", JournalWarning)

    def release(self) -> None:
        """The call is over; without an answer, it is free to be asked again."""
        if self.is_answered:
            return
        try:
            ours = self.entry.state in ("ours", "background")
            self.journal.release(self.entry, ours=ours)
        except JournalError as error:
            safe_warn(f"a call that failed stays in the journal: {error}", JournalWarning)


def _bytes_of(answer: Any) -> bytes:
    if isinstance(answer, LegacyAPIResponse):
        content: bytes = answer.http_response.content
        return content
    text: str = answer.model_dump_json(by_alias=True, exclude_unset=True)
    return text.encode("utf-8", "surrogatepass")
