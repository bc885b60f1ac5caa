"""One call's entry in the journal: claimed when the call begins, released when it ends."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import replace
from functools import partial

from flextier._openai.private_names import dumps
from flextier._utils.clock import Clock
from flextier._utils.safe_warn import safe_warn
from flextier.errors import Detached
from flextier.journal.cache_key import cache_key
from flextier.journal.errors import JournalError, JournalLocked, JournalWarning
from flextier.journal.journal import Journal
from flextier.journal.journal_file import SHORT_WAIT, lock_wait
from flextier.journal.open_journals import journal_at
from flextier.journal.records import AcceptedResponse, BatchPlace, JournaledResponse, JournalEntry
from flextier.lanes import BATCH, CallFacts, Lane, background_lane
from flextier.policy import FlexPolicy

_MIN_INTERVAL, _MAX_INTERVAL, _MAX_LOCK_INTERVAL = 0.05, 2.0, 0.2
"""Seconds between two checks whether another process has the response, or has left the lock."""


_LOCK_WAITS: dict[str, float] = {}
"""The journals, by path, that another process holds now, each with the seconds that a call waits
for it: less once a call has waited in full."""

_FIRST_LOCK_WAIT, _NEXT_LOCK_WAIT = 60.0, 1.0


class CallEntry:
    """The journal's entry of one call. Not shared between calls; the journal is.

    While another process holds the journal's lock, the entry is ``busy``: the call looks again
    until that process is done, but not beyond its deadline. Nothing here blocks.
    """

    __slots__ = (
        "_clock",
        "_collected",
        "_ends_at",
        "_interval",
        "_is_first",
        "_is_stale",
        "_locked_at",
        "_policy",
        "_settled",
        "_written",
        "entry",
        "journal",
    )  # fmt: skip

    journal: Journal
    """The journal; not set before it could be opened, while ``entry.n`` is 0."""

    def __init__(self, base_url: str, asked: CallFacts, policy: FlexPolicy, clock: Clock) -> None:
        """Find the entry of the call, or create it; a JournalError means that nothing was sent."""
        assert policy.journal is not None
        self._policy = policy
        self._clock = clock
        self._interval = _MIN_INTERVAL
        self._is_stale = self._is_first = False
        self._settled = self._written = False
        self._locked_at: float | None = None
        self._ends_at = math.inf if policy.deadline is None else clock.now() + policy.deadline
        key = cache_key(base_url, asked.endpoint, dumps(asked.body), policy.journal_namespace)
        self.entry = JournalEntry(key, 0, "busy")
        self._collected = CALL_ENTRIES.get()
        self._claim()
        if self._collected is not None and self._collected.known_only and not self._is_known:
            self.release()
            self._collected.refused = True
            raise Detached("the call is not submitted yet, and only what was submitted is fetched")
        # A shared entry is never used up.
        if self._collected is not None and policy.journal_duplicates != "once":
            self._collected.append(self)

    def _claim(self) -> None:
        """Update the entry; while the journal is locked, but not for too long, it is busy."""
        path = self._policy.journal
        assert path is not None
        error: JournalError | None = None
        try:
            with lock_wait(0.0 if path in _LOCK_WAITS else SHORT_WAIT):
                self.entry = self._found(path)
        except JournalError as raised:
            if isinstance(raised, JournalLocked) and self._may_wait_for_lock(path):
                self.entry = replace(self.entry, state="busy")
                return
            error = raised
            raise
        else:
            if self.entry.place in self.journal.unclaimed:
                self.journal.unclaimed.discard(self.entry.place)
                self._is_first = True
            self._locked_at = None
            _LOCK_WAITS.pop(path, None)
        finally:
            if self._collected is not None:
                self._collected.error = error

    def _found(self, path: str) -> JournalEntry:
        policy, entry = self._policy, self.entry
        if entry.n:
            return self.journal.claim(entry, ttl=policy.journal_ttl)
        self.journal = journal_at(path)
        once = policy.journal_duplicates == "once"
        return self.journal.take(entry.key, once=once, ttl=policy.journal_ttl)

    def _may_wait_for_lock(self, path: str) -> bool:
        now = self._clock.now()
        if self._locked_at is None:
            self._locked_at = now
        wait = _LOCK_WAITS.setdefault(path, _FIRST_LOCK_WAIT)
        if now >= self._locked_at + wait:
            _LOCK_WAITS[path] = _NEXT_LOCK_WAIT
            return False
        return now < self._ends_at

    @property
    def answer(self) -> JournaledResponse | None:
        """The response that the journal has; None: it has none."""
        return self.entry.answer

    @property
    def _is_known(self) -> bool:
        """Whether the call was submitted before, or has its response."""
        return self.answer is not None or self.pending_lane is not None

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
        entry = replace(self.entry, state="background", background_response=accepted)
        self.entry = entry
        self._write(
            "a background response is not in the journal",
            lambda: self.journal.accepted(entry, model, accepted),
        )

    def discard_background(self) -> None:
        """Discard the call's background response: the call is sent again."""
        self._set_ours()
        entry = self.entry
        self._write(
            "a discarded background response stays in the journal",
            lambda: self.journal.discard_background(entry),
        )

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

    def recheck(self, until: float) -> float:
        """Seconds until the next check for another call's response; 0: stop waiting.

        It is 0 from ``until`` on, when the call is sent itself. Raises a JournalError if the
        journal is locked for too long.
        """
        if self.is_busy:
            self._claim()
        if not self.is_busy:
            return 0.0
        left = (until if self.entry.n else self._ends_at) - self._clock.now()
        if left <= 0 and self.entry.n:
            self.stop_waiting()
            return 0.0
        longest = _MAX_INTERVAL if self._locked_at is None else _MAX_LOCK_INTERVAL
        self._interval = min(self._interval * 1.5, longest)
        return max(min(self._interval, left), _MIN_INTERVAL / 10)

    @property
    def is_busy(self) -> bool:
        """Whether another call is making the same request now, and will have the response."""
        return self.entry.state == "busy"

    @property
    def paid_before(self) -> bool:
        """Whether an earlier call paid for the response, which is replayed or fetched again.

        The first call for a line that was collected with its batch is the one that pays for it.
        """
        return not self._is_first and (self.entry.answer is not None or self.entry.fetched_again)

    @property
    def is_answered(self) -> bool:
        """Whether the call has its response."""
        return self._settled or self.entry.answer is not None

    def collected(self) -> None:
        """Note that the response came from a batch, whose collection wrote it to the journal."""
        self._settled = self._written = True

    def answered(self, lane: str, model: str, content: bytes, request_id: str | None) -> None:
        """Write the JSON of a response served on ``lane``; a failed write is only warned of."""
        keep = self._policy.journal_store_responses
        response = JournaledResponse(lane, 200, request_id, content)
        entry = self.entry
        self._settled = True

        def write() -> None:
            self.journal.answered(entry, model, response, keep_answer=keep)
            self._written = True

        def failed(error: Exception) -> None:
            self._settled = False
            _warn("a response is not in the journal", error)

        self.journal.write_soon(write, failed)

    def used_up(self) -> None:
        """The caller has the response: no later call gets it from the journal."""
        entry = self.entry
        if self.is_answered:
            self._write(
                "a response that was delivered stays in the journal",
                lambda: self.journal.use_up([entry]),
            )

    def stream_opened(self) -> None:
        """Note that the caller reads the response as a stream now."""
        self.journal.open_streams.add((self.entry.key, self.entry.n))

    def release(self) -> None:
        """End the call; without a response, the next call with the same key is sent again."""
        entry = self.entry
        if not entry.n:  # the journal was locked all the time
            return
        self.journal.open_streams.discard((entry.key, entry.n))
        if self._written or entry.answer is not None:
            return

        def write() -> None:
            if not self._written:  # by now: the response may have had to wait for another process
                self.journal.release(entry, ours=entry.state in ("ours", "background"))

        self._write("a failed call stays in the journal", write)

    def _write(self, consequence: str, write: Callable[[], None]) -> None:
        """Write now or, while another process writes, soon; a failure is only warned of."""
        self.journal.write_soon(write, partial(_warn, consequence))


class CallEntries(list[CallEntry]):
    """The entries of the calls of one task, in the order in which the calls began."""

    __slots__ = ("error", "known_only", "refused")

    def __init__(self) -> None:
        super().__init__()
        self.error: JournalError | None = None
        """Why the last call was not sent: the journal could not be used. None: it could."""
        self.known_only = False
        """Whether no call may be sent that was not submitted before."""
        self.refused = False
        """Whether such a call was refused."""


CALL_ENTRIES: ContextVar[CallEntries | None] = ContextVar("flextier_call_entries", default=None)
"""A list that the entries of the calls made here are added to; None: they are not collected."""


def _warn(consequence: str, error: Exception) -> None:
    safe_warn(f"{consequence}: {error}", JournalWarning)
