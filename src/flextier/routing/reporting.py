"""What one call goes through: its attempts and waits, and the report and the retries of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flextier._utils.safe_warn import warn_undelivered
from flextier.calls.answer import Facts
from flextier.calls.report import Attempt, CallReport, Retry
from flextier.lanes import JOURNAL, tier_lane
from flextier.planning.fallback import Send
from flextier.pricing.usage import Usage

if TYPE_CHECKING:
    from flextier.routing.call import CallState

NOTHING_BILLED = Usage(0, 0)


@dataclass(slots=True, eq=False)
class AttemptLog:
    """The attempts and waits of one call so far. Not shared."""

    started_at: float
    """When the call began, by its clock."""
    at: float
    """When it began: seconds since the epoch."""
    attempts: list[Attempt] = field(default_factory=list)
    """Those that have ended."""
    lane: str | None = None
    """The lane of the attempt that has been sent and has not ended yet; None: there is none."""
    sent_at: float = 0.0
    """When that was sent."""
    idle_since: float | None = None
    """When the wait for the next attempt began; None: the call does not wait."""
    waited: float = 0.0
    """Seconds spent between attempts."""

    def waiting(self, now: float) -> float:
        """Seconds that the wait has lasted; 0: there is none."""
        return 0.0 if self.idle_since is None else now - self.idle_since

    def wait_started(self, now: float) -> None:
        """Begin a wait, unless the call waits already."""
        if self.idle_since is None:
            self.idle_since = now

    def wait_ended(self, now: float) -> None:
        """End the wait, if there is one."""
        self.waited += self.waiting(now)
        self.idle_since = None

    def attempt_ended(
        self,
        now: float,
        outcome: str,
        status: int | None = None,
        request_id: str | None = None,
        sent: bool = True,
    ) -> None:
        """The attempt in flight has ended."""
        assert self.lane is not None
        seconds = now - self.sent_at
        self.attempts.append(Attempt(self.lane, outcome, seconds, status, request_id, sent))
        self.lane = None

    def history(self) -> str:
        """The attempts as text, for an error's message."""
        steps = [f"{attempt.lane}: {attempt.outcome}" for attempt in self.attempts]
        if self.lane is not None:
            steps.append(f"{self.lane}: cut off")
        shown = ", ".join(steps[-6:]) or "no attempt"
        more = "…, " if len(steps) > 6 else ""
        count = len(steps)
        return f"{count} attempt{'s' * (count != 1)} ({more}{shown}), {self.waited:.1f} s waited"


def end_report(
    state: CallState,
    answer: Facts | None,
    error: BaseException | None,
    *,
    usage_estimated: bool = False,
) -> CallReport:
    """The report of a call that has ended now, with this answer, and with the error it raises."""
    tier = model = usage = None
    if answer is not None:
        tier, model, usage = answer.tier, answer.model, answer.usage
    lane, entry = billed_lane(state, tier), state.setting.entry
    fallback: str | None = state.ladder.fallback
    is_answered = error is None or state.transport.answer is not None
    if entry is not None and entry.paid_before and is_answered:
        lane, fallback, usage = JOURNAL, None, NOTHING_BILLED
    elif state.journaled is not None:
        lane, fallback = state.journaled.lane, None
    elif lane == state.first_lane:
        fallback = None  # it may have come back there
    elif fallback is None and lane != state.ladder.lane.name:
        fallback = "downgraded"
    log, call, now = state.log, state.call, state.setting.clock.now()
    log.wait_ended(now)
    return CallReport(
        call.model,
        lane,
        tuple(log.attempts),
        log.waited,
        now - log.started_at,
        fallback=fallback,
        usage=usage,
        # Takes a fifth of the time of a UUID, and is as unlikely to repeat.
        id=os.urandom(16).hex(),
        at=log.at,
        first_lane=state.first_lane,
        served_model=model,
        output_limit=call.output_limit,
        error=None if error is None else type(error).__name__,
        why=state.why,
        usage_estimated=usage_estimated,
        limits=state.setting.limits,
    )


def billed_lane(state: CallState, tier: str | None) -> str:
    """The lane that is billed: by the response's tier, which a batch's does not state."""
    lane = state.ladder.lane
    if state.held:
        return tier_lane(tier or lane.service_tier).name
    if tier is None or tier == lane.service_tier or lane.serves(tier):
        return lane.name
    return tier_lane(tier).name


def publish(report: CallReport, callbacks: Iterable[Callable[[CallReport], None]]) -> None:
    """Pass a report to ``callbacks``; what one raises is warned about."""
    for callback in callbacks:
        try:
            callback(report)
        except Exception as error:  # noqa: BLE001, PERF203 - the call has its response
            warn_undelivered(callback, error)


def retry_of(state: CallState, error: Exception) -> Retry:
    """The retry that follows an error, for listeners."""
    assert isinstance(state.step, Send)
    log = state.log
    wait = max(state.step.wait, state.admission.opens_in(state.setting.clock.now()))
    return Retry(
        state.call.model,
        log.attempts[-1],
        state.ladder.lane.name,
        wait,
        error,
        len(log.attempts),
        log.waited,
    )
