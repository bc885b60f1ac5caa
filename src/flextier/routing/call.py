"""The state machine of one call: admission, attempts, what each failure means, the end. No I/O.

``driver.py`` asks it what to do, and reports to it how each attempt ended.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flextier._utils.clock import Clock
from flextier.calls import hooks
from flextier.calls.answer import Answer, Facts
from flextier.calls.call import Call
from flextier.calls.context import Scope
from flextier.calls.gathered_lines import INFO, LOG
from flextier.calls.log import CallLog
from flextier.calls.report import CANCELLED, SERVED, CallReport, attach_report
from flextier.capacity import AccountKey, LimiterRegistry
from flextier.lanes import STANDARD
from flextier.lanes.failures import Failure, Kind
from flextier.planning.admission import Admission
from flextier.planning.fallback import GiveUp, Ladder, Send
from flextier.planning.without_flex import warn_short_deadline
from flextier.policy import FlexPolicy
from flextier.routing.plan import CallPlan
from flextier.routing.reporting import AttemptLog, billed_lane, end_report, publish
from flextier.routing.steps import Served

if TYPE_CHECKING:
    from flextier.journal.call_entry import CallEntry
    from flextier.journal.records import JournaledResponse
    from flextier.planning.burst import BurstMembership
    from flextier.routing.executors import Transport


@dataclass(slots=True, eq=False)
class CallSetting:
    """What a call is made with, besides the call itself."""

    policy: FlexPolicy
    account: AccountKey
    capacity: LimiterRegistry
    clock: Clock
    scope: Scope
    entry: CallEntry | None = None
    """The journal's entry; None: the call is not journaled."""
    burst: BurstMembership | None = None
    """The call's part in a burst; None: it is in none."""
    limits: str = ""
    """The limits of the call, each with where it comes from, for the report."""
    charges: Sequence[Callable[[CallReport], None]] = ()
    """Receive the report before all other callbacks: they count its cost."""
    is_begun: bool = False
    """Whether the hooks of this process know of the call."""

    def begins(self, call: Call) -> None:
        """Notify the hooks of this process, unless they know of the call."""
        if not self.is_begun and (hooks.call_hooks or hooks.listeners):
            self.is_begun = True
            self.scope = hooks.with_hooks(self.scope, self.account.base_url, call)


@dataclass(slots=True, eq=False)
class CallState:
    """The state of one call."""

    call: Call
    plan: CallPlan
    setting: CallSetting
    transport: Transport
    log: AttemptLog = field(init=False)
    ladder: Ladder = field(init=False)
    admission: Admission = field(init=False)
    step: Send | GiveUp = field(init=False)
    """What to do next."""
    first_lane: str = field(init=False)
    """The lane where the call is billed without a fallback."""
    why: str = ""
    """As in ``CallReport.why``."""
    error: Exception | None = None
    """The error of the last attempt, if a further one follows; None: there is none."""
    is_retry: bool = True
    """Whether the step after a failure counts as a retry."""
    done: bool = False
    """Whether the call has ended."""
    lines: CallLog | None = None
    """Writes the log; None: the logger is off."""

    # --- of the current attempt
    is_direct: bool = True
    """Whether the SDK sends it; False: the response is the journal's, or is polled for."""
    limit: float = math.inf
    """Seconds that it may take, from start to end."""
    tier: str = ""
    """The ``service_tier`` that it requests; empty: none."""
    plain: bool = False
    """Whether it requests no stream, although the caller did."""
    adds_usage: bool = False
    """Whether it requests the usage of a stream for the report alone."""
    usage_refused: bool = False
    """Whether the server has refused that."""
    held: bool = False
    """Whether the server has answered the creation of its background response itself."""
    unsent: bool = False
    """Whether it was abandoned before it was sent."""
    whole: bytes | None = None
    """The JSON of the response that its stream is made from; None: the stream is the API's."""

    def __post_init__(self) -> None:
        plan, clock, policy = self.plan, self.setting.clock, self.setting.policy
        now, status = clock.now(), plan.status
        self.log = AttemptLog(now, clock.wall())
        self.ladder = Ladder(
            policy, plan.lanes, now, status.shut_for, status.latency, plan.plain, plan.patience
        )
        if plan.resumes:
            self.ladder.resume()
        self.admission = Admission(status.limiter, self.ladder, policy)
        is_open = plan.supported and now >= status.limiter.shut_until
        self.step = self.ladder.start(now, is_open=is_open)
        self.first_lane, self.why = plan.first_lane, plan.why
        if self.ladder.fallback == "unfinished":
            self.why = self.why or f"the deadline leaves too little time for {self.first_lane}"
            if not self.setting.scope.simulated and self.setting.scope.until is None:
                warn_short_deadline(policy, plan.lanes, self.ladder.lane)
        if plan.declined and self.ladder.fallback is None:
            self.ladder.fallback = "lane_unsupported"
        if policy.start_jitter:
            self.step = self.step._replace(wait=policy.start_jitter * clock.random())
        if LOG.isEnabledFor(INFO) and not self.setting.scope.simulated:
            self.lines = CallLog(self.setting.account, self.call.model, clock)

    @property
    def journaled(self) -> JournaledResponse | None:
        """The response that the journal has; None: it has none."""
        return None if (entry := self.setting.entry) is None else entry.answer

    # --- admission --------------------------------------------------------------------------------

    def admit(self) -> bool:
        """Whether the next attempt may be sent now; if not, wait for :meth:`admission_wait`."""
        now = self.setting.clock.now()
        if (entry := self.setting.entry) is not None:
            entry.refresh()
            if entry.is_busy:
                self.log.wait_started(now)
                return False
            if entry.answer is not None:
                return True
            pending_lane = entry.pending_lane
            if pending_lane is not None and pending_lane.name != self.ladder.lane.name:
                self.ladder.insert_lane(pending_lane)  # another call has sent the same body there
            if entry.background_response is not None:
                return True  # the server has accepted it before: nothing is sent
        granted = self.admission.try_acquire(now)
        if not granted:
            self.log.wait_started(now)
        return granted

    def admission_wait(self, wake: Callable[[], None]) -> float:
        """Seconds until this should be asked again, if not woken before; 0 means admitted.

        Raises:
            FlexUnavailable, FlexDeadlineExceeded, or the error of the last attempt: the last lane
                has not admitted the call for as long as it may wait.
        """
        entry, clock = self.setting.entry, self.setting.clock
        if entry is not None and entry.is_busy:
            if (seconds := entry.recheck(self.ladder.cancel_at)) > 0:
                return seconds
            if entry.answer is not None or self.admit():
                return 0.0
        while True:
            now = clock.now()
            seconds = self.admission.recheck(now, wake)
            if seconds > 0 or self.admission.granted:
                if seconds > 0 and self.lines is not None:
                    self.lines.waiting(
                        self.plan.status.limiter,
                        self.ladder.lane.name,
                        self.log.waited + self.log.waiting(now),
                        self.ladder.following,
                    )
                return seconds
            left = self.ladder.lane.name
            self.step = self.ladder.not_admitted(now)
            if isinstance(self.step, GiveUp):
                from flextier.routing.final_errors import not_admitted_error

                error = not_admitted_error(self, self.step.limit)
                self.finish(error=error)
                raise error
            if self.lines is not None:
                self.lines.not_admitted(left, now - self.log.started_at, self.ladder.lane.name)
            if self.admission.try_acquire(now):
                return 0.0

    # --- an attempt: begin_attempt, then served, failed or aborted --------------------------------

    def begin_attempt(self) -> None:
        """Begin the next attempt: its limits are set, and it counts as sent.

        Raises:
            FlexDeadlineExceeded: no time is left for one.
        """
        log, ladder, setting = self.log, self.ladder, self.setting
        now = setting.clock.now()
        if log.idle_since is not None:
            log.wait_ended(now)
        self.limit, self.whole, self.held, self.transport.answer = math.inf, None, False, None
        if (entry := setting.entry) is not None and entry.answer is not None:
            self.is_direct = False
            return
        if ladder.out_of_time(now):
            from flextier.routing.final_errors import deadline_error

            raise deadline_error(self)
        self.error = None
        lane = ladder.lane
        self.tier = "" if lane.batched else lane.service_tier
        if self.tier == STANDARD.service_tier and self.call.tier is None:
            self.tier = self.tier if _takes_field(self, "service_tier") else ""
        self.is_direct = not lane.deferred and setting.scope.local is None
        if self.is_direct:
            self.limit = ladder.attempt_timeout(now)
            if self.call.stream:
                self.plain = isinstance(self.step, Send) and self.step.plain
                may_add = self.call.usage_requested is None
                may_add = may_add and not (self.plain or self.usage_refused)
                self.adds_usage = may_add and _takes_field(self, "stream_options")
            if self.admission.begun_on is not lane:
                self.admission.start(now)
        elif not lane.batched and (entry is None or entry.background_response is None):
            self.admission.start(now)
        log.lane, log.sent_at = lane.name, now
        if self.lines is not None and self.lines.debug:
            self.lines.admitted(lane.name, len(log.attempts) + 1, log.waited)

    @property
    def stalls_in(self) -> Callable[[], float] | None:
        """Returns the seconds until a silent attempt should be checked again, 0 if it has stalled;
        None: it is not checked."""
        if self.setting.policy.deadline is None or not self.admission.may_stall:
            return None
        admission, clock = self.admission, self.setting.clock
        return lambda: admission.stalls_in(clock.now())

    def headers_received(self, headers: Mapping[str, str]) -> None:
        """Record the rate limits that a response states."""
        self.admission.headers_received(headers, self.setting.clock.now())

    def served(self, served: Served) -> bool:
        """Whether an answer ends the call; False: it reports a failure that is retried.

        Answers may come with HTTP 200 and ``status: "failed"``. Without a further attempt, such an
        answer ends the call and is returned, as the SDK does.
        """
        answer = served.answer
        if (entry := self.setting.entry) is not None and entry.answer is not None:
            self.step = GiveUp("none")
            if not entry.paid_before:
                now = self.setting.clock.now()
                self.log.lane, self.log.sent_at = entry.answer.lane, now
                self.log.attempt_ended(now, SERVED, 200, served.request_id)
            self.finish(answer, error=served.error)
            return True
        if answer is not None and answer.failure is not None:
            _decide(self, answer.failure)
            if not isinstance(self.step, Send):
                self.finish(answer)
            return not isinstance(self.step, Send)
        self._answered(answer, served.request_id, served.error)
        return True

    def _answered(
        self, answer: Answer | None, request_id: str | None, error: BaseException | None = None
    ) -> None:
        if answer is not None and self.setting.entry is not None:
            # As it is paid for: before the caller gets it.
            self.journal(answer.content, answer.tier, request_id)
        self.step = GiveUp("none")  # no error from here on leads to a retry
        now = self.setting.clock.now()
        timed = not self.call.stream and not self.call.reads_body  # else it is the caller's time
        self.admission.served(now, timed=timed)
        self.log.attempt_ended(now, SERVED, 200, request_id)
        self.finish(answer, error=error)

    def journal(self, content: bytes, tier: str | None, request_id: str | None) -> None:
        """Write a response to the journal, if the call has an entry there."""
        entry = self.setting.entry
        if entry is not None and self.ladder.lane.batched:
            entry.collected()
        elif entry is not None:
            entry.answered(billed_lane(self, tier), self.call.model, content, request_id)

    def reported_error(self, served: Served) -> Exception:
        """The error for an answer that reports a failure, for listeners."""
        failure = None if served.answer is None else served.answer.failure
        return self.transport.failed_response(failure or Failure())

    def failed(self, error: Exception) -> Exception:
        """Decide what follows an error, see :attr:`goes_on`; the error to raise if nothing does."""
        failure = None if self.log.lane is None else self.transport.failure_of(error)
        if failure is None:
            self.aborted(error)
            return error
        self.step = GiveUp("none")  # until decided: an error in deciding must not be retried
        self.transport.answer = None
        kind = _decide(self, failure)
        if isinstance(self.step, Send):
            self.error = error
            return error
        from flextier.routing.final_errors import final_error

        error = final_error(self, error, kind, self.step.limit)
        self.finish(error=error)
        return error

    def aborted(self, error: BaseException) -> None:
        """End the call with an error that is no failure of the attempt: cancelled, or a bug."""
        self.step = GiveUp("none")
        answer = self.transport.answer
        if self.log.lane is None:
            self.abandoned(error)
        elif answer is not None:
            # Answered and billed: the error is of the caller's own parser.
            self._answered(answer, answer.request_id, error)
        else:
            outcome = "error" if isinstance(error, Exception) else CANCELLED
            self.log.attempt_ended(self.setting.clock.now(), outcome, sent=not self.unsent)
            self.finish(error=error)

    def abandoned(self, error: BaseException) -> None:
        """End the call without a response, also when it was cancelled between two attempts."""
        if not self.done:
            self.finish(error=error)

    @property
    def past_deadline(self) -> bool:
        """Whether the call should have ended."""
        return self.setting.clock.now() >= self.ladder.deadline

    def stream_opened(self, stream: Any) -> None:
        """Notify the listeners of the stream that is the call's response."""
        setting = self.setting
        if setting.entry is not None:
            setting.entry.stream_opened()
        if self.usage_refused:
            setting.capacity.refuse_field("stream_options", setting.account.base_url)
        for listener in setting.scope.streams:
            listener(stream)

    def silence_limit(self) -> float:
        """Seconds that a stream's next event may take: those of an attempt, within the deadline."""
        return self.ladder.attempt_timeout(self.setting.clock.now(), to_the_end=True)

    # --- a further attempt ------------------------------------------------------------------------

    @property
    def goes_on(self) -> bool:
        """Whether a further attempt follows the one that failed."""
        return isinstance(self.step, Send) and not self.done

    def next_wait(self) -> float:
        """Seconds to wait before the next attempt is admitted."""
        assert isinstance(self.step, Send)
        if self.step.wait > 0:
            self.log.wait_started(self.setting.clock.now())
        return self.step.wait

    # --- the end ----------------------------------------------------------------------------------

    def finish(
        self,
        answer: Facts | None = None,
        *,
        error: BaseException | None = None,
        usage_estimated: bool = False,
    ) -> None:
        setting = self.setting
        self.done, self.error = True, None
        if self.admission.is_held:
            self.admission.release(setting.clock.now())
        if setting.entry is not None:
            setting.entry.release()
        callbacks = (*setting.charges, *setting.scope.reports)
        report = None  # where it would not be read
        if callbacks or self.lines is not None or isinstance(error, Exception):
            report = end_report(self, answer, error, usage_estimated=usage_estimated)
        if setting.burst is not None:
            setting.burst.leave()
        if report is not None:
            if self.lines is not None:
                self.lines.ended(report)
            if isinstance(error, Exception):
                attach_report(error, report)
            publish(report, callbacks)


def _takes_field(state: CallState, name: str) -> bool:
    """Whether the server takes a field in calls of this model."""
    account, model = state.setting.account, state.call.model
    return state.setting.capacity.takes_field(name, account.base_url, model)


def _decide(state: CallState, failure: Failure) -> Kind:
    from flextier.routing.failed_attempt import decide  # loaded with the first failure

    return decide(state, failure)
