"""The attempts and waits of one call so far, which its report is assembled from."""

from __future__ import annotations

import os
from typing import Any

from flextier._utils.clock import Clock
from flextier.calls.report import Attempt, CallReport


class AttemptLog:
    """Records the attempts and waits of one call. Not shared."""

    __slots__ = (
        "_at", "_attempts", "_began", "_clock", "_idle_since", "_lane", "_sent", "_waited",
    )  # fmt: skip

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = self._sent = clock.now()
        self._at = clock.wall()
        self._attempts: list[Attempt] = []
        self._lane: str | None = None
        self._idle_since: float | None = None
        self._waited = 0.0

    @property
    def started_at(self) -> float:
        """When the call began, by its clock."""
        return self._began

    @property
    def in_flight(self) -> bool:
        """Whether an attempt has been sent and has not ended yet."""
        return self._lane is not None

    @property
    def is_empty(self) -> bool:
        """Whether no attempt has ended yet."""
        return not self._attempts

    @property
    def last_attempt(self) -> Attempt:
        """The attempt that ended last."""
        return self._attempts[-1]

    def wait_started(self) -> None:
        """A wait begins, or continues."""
        if self._idle_since is None:
            self._idle_since = self._clock.now()

    def wait_ended(self) -> float:
        """End the wait, if there is one; the time now."""
        now = self._clock.now()
        if self._idle_since is not None:
            self._waited += now - self._idle_since
            self._idle_since = None
        return now

    def attempt_started(self, lane: str, now: float) -> None:
        """An attempt is being sent."""
        self._lane, self._sent = lane, now

    def attempt_ended(
        self,
        outcome: str,
        status: int | None = None,
        request_id: str | None = None,
        sent: bool = True,
    ) -> float:
        """The attempt in flight has ended; the time now."""
        assert self._lane is not None
        now = self._clock.now()
        seconds = now - self._sent
        self._attempts.append(Attempt(self._lane, outcome, seconds, status, request_id, sent))
        self._lane = None
        return now

    def history(self) -> str:
        """The attempts as text, for an error's message."""
        steps = [f"{attempt.lane}: {attempt.outcome}" for attempt in self._attempts]
        if self._lane is not None:
            steps.append(f"{self._lane}: cut off")
        shown = ", ".join(steps[-6:]) or "no attempt"
        more = "…, " if len(steps) > 6 else ""
        count = len(steps)
        return f"{count} attempt{'s' * (count != 1)} ({more}{shown}), {self._waited:.1f} s waited"

    def report(self, model: str, lane: str, **fields: Any) -> CallReport:
        """The report of the call, which has ended now; ``fields`` are its other fields."""
        now = self.wait_ended()
        return CallReport(
            model,
            lane,
            tuple(self._attempts),
            self._waited,
            now - self._began,
            # Takes a fifth of the time of a UUID, and is as unlikely to repeat.
            id=os.urandom(16).hex(),
            at=self._at,
            **fields,
        )
