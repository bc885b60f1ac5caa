"""One routed call: its options in, its attempts recorded, the next step decided. No I/O.

Both clients drive a :class:`Route` in the same way and differ only in how they wait.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import openai
from tenacity import RetryCallState

from flextier._openai.compat import failure_of, new_request
from flextier._openai.request_options import (
    attempt_options,
    caller_reads_body,
    chosen_tier,
    number_of_choices,
    output_limit,
    request_facts,
    requests_stream_usage,
    with_read_callback,
)
from flextier._openai.response_metadata import (
    model_of,
    reported_failure,
    request_id_of,
    service_tier_of,
    usage_of,
)
from flextier._utils.clock import Clock
from flextier._utils.safe_warn import notify
from flextier.calls.context import Scope
from flextier.calls.report import CANCELLED, SERVED, CallReport, Retry, attach_report
from flextier.calls.report_builder import AttemptLog
from flextier.capacity import AccountKey, LaneKey, LimiterRegistry
from flextier.errors import BatchUnfinished, FlexDeadlineExceeded
from flextier.lanes import AUTO, JOURNAL, CallFacts, Lane, choose, tier_lane, warn_about_windows
from flextier.lanes.failures import Failure, Kind, classify, rejects_stream_options
from flextier.lanes.rate_limits import refused_limit
from flextier.lanes.retry_after import retry_after, retry_forbidden
from flextier.lanes.standard import STOCK
from flextier.planning.admission import Admission
from flextier.planning.fallback import FailedAttempt, GiveUp, Ladder, Limit, Send
from flextier.planning.lane_status import LaneStatus
from flextier.policy import FlexPolicy
from flextier.pricing.usage import Usage, estimated_usage
from flextier.routing.final_errors import deadline_error, unavailable_error, with_explanation
from flextier.routing.timeout_args import TimeoutArgument
from flextier.transport.streams import StreamProgress
from flextier.variables import is_off

if TYPE_CHECKING:
    from flextier.background.api import PolledResponse
    from flextier.background.lifecycle import BackgroundLifecycle
    from flextier.batch.future import BatchFuture
    from flextier.journal.call_entry import CallEntry
    from flextier.journal.records import JournaledResponse
    from flextier.planning.burst import BurstMembership
    from flextier.routing.deferred import DeferredResponse
    from flextier.routing.stream_recorder import StreamRecorder


class Route:
    """The state of one call. Made by :meth:`flextier.client.router.Router.route`."""

    # Tens of thousands may wait at once.
    __slots__ = (
        "_account", "_adds_usage", "_admission", "_attempts", "_burst", "_capacity", "_clock",
        "_done", "_entry", "_error", "_externally_timed", "_first_lane", "_held", "_ladder",
        "_limits", "_not_a_retry", "_policy", "_response", "_scope", "_stream", "_timeout",
        "_times_lane", "_unsent", "_usage_refused", "_usage_requested", "_why", "cost_callbacks",
        "limit", "model", "options", "step", "whole",
    )  # fmt: skip

    def __init__(
        self,
        options: Any,
        policy: FlexPolicy,
        timeout: TimeoutArgument,
        externally_timed: bool,
        scope: Scope,
        clock: Clock,
        capacity: LimiterRegistry,
        account: AccountKey,
        entry: CallEntry | None = None,
        facts: CallFacts | None = None,
        limits: str = "",
    ) -> None:
        self.options = options
        """The SDK's options as the caller gave them."""
        self.model = str(options.json_data.get("model", ""))
        self._stream = bool(options.json_data.get("stream"))
        self._usage_requested = requests_stream_usage(options) if self._stream else False
        self._adds_usage = self._usage_refused = False
        self._policy = policy
        self._timeout = timeout
        self._externally_timed = externally_timed
        self._scope = scope
        self._clock = clock
        self._capacity = capacity
        self._account = account
        self._attempts = AttemptLog(clock)
        self._response: Any = None
        self.whole: bytes | None = None
        """The JSON of the response that the current attempt's stream is made from; None: it is a
        stream of the API."""
        self._done = False
        self.cost_callbacks: Sequence[Callable[[CallReport], None]] = ()
        """Receive the report before all other callbacks: they count its cost."""
        self._times_lane = not self._stream and not caller_reads_body(options)
        """Whether an attempt takes the lane's time only, and not also the caller's to read."""
        self.limit = 0.0
        """Seconds that the current attempt may take, from start to end."""
        limiter = self._capacity.limiter(*account, self.model)
        status = LaneStatus(self._capacity, self._clock, account, self.model, limiter)
        self._why = ""
        self._limits = limits
        self._burst: BurstMembership | None = None
        if is_off():
            lanes, self._why = [STOCK], "FLEXTIER_OFF is set: standard only"
        elif (tier := chosen_tier(options)) is not None:
            lanes = [tier_lane(tier)]
        elif policy.lanes == (AUTO,):
            facts = facts or request_facts(options)
            lanes = self._auto_lanes(status, facts)
        else:
            lanes = status.lanes(policy)
        self._first_lane = lanes[0].name
        self._entry = entry
        plain = declined = foreign = False
        pending_lane = None if entry is None else entry.pending_lane
        if pending_lane is not None or any(lane.deferred for lane in lanes):
            foreign = pending_lane is not None and pending_lane.name not in {
                lane.name for lane in lanes
            }
            chosen = choose(lanes, facts or request_facts(options), pending_lane)
            declined = all(lane.name != lanes[0].name for lane in chosen.lanes)
            plain, lanes = chosen.plain, chosen.lanes
            self._why = self._why or chosen.why
        self._error: Exception | None = None
        self._held = self._unsent = self._not_a_retry = False
        self._ladder = Ladder(
            policy, lanes, self._attempts.started_at, status.shut_for, status.latency, plain
        )
        if foreign:
            self._ladder.resume()
        self._admission = Admission(limiter, self._ladder, policy)
        self.step: Send | GiveUp = self._ladder.start(self._attempts.started_at)
        if self._ladder.fallback == "unfinished":
            self._why = self._why or f"the deadline leaves too little time for {self._first_lane}"
        if declined and self._ladder.fallback is None:
            self._ladder.fallback = "lane_unsupported"
        if policy.start_jitter:
            self.step = replace(self.step, wait=policy.start_jitter * self._clock.random())

    def _auto_lanes(self, status: LaneStatus, facts: CallFacts) -> list[Lane]:
        """The lanes that ``lanes="auto"`` stands for, by the model and the deadline."""
        from flextier.planning.burst import BurstMembership

        run = None if self._scope.run is None else self._scope.run()
        self._burst = BurstMembership(run, (*self._account, self.model), self._clock)
        planned = status.plan(self._policy, facts, self._burst.no_batch_reason(self._policy))
        self._why = planned.why
        return planned.lanes

    @property
    def unstreamed(self) -> bool:
        """Whether the current attempt requests no stream, although the caller did."""
        return isinstance(self.step, Send) and self.step.plain

    @property
    def body_read(self) -> bool:
        """Whether the response was JSON: any later error is of the caller's own parser."""
        return self._response is not None

    def request(self) -> Any:
        """A request object for an error that must carry one, without the one that was sent."""
        return new_request(self._url)

    @property
    def _url(self) -> str:
        return self._account.url(str(self.options.url))

    # --- admission --------------------------------------------------------------------------------

    def admit(self) -> bool:
        """Whether the next attempt may be sent now; if not, wait for :meth:`admission_wait`."""
        if self._entry is not None:
            self._entry.refresh()
            if self._entry.is_busy:
                self._attempts.wait_started()
                return False
            if self._entry.answer is not None:
                return True
            pending_lane = self._entry.pending_lane
            if pending_lane is not None and pending_lane.name != self._ladder.lane.name:
                self._ladder.insert_lane(pending_lane)  # another call has sent the same body there
            if self._background_accepted:
                return True  # the server has accepted it before: nothing is sent
        granted = self._admission.try_acquire(self._clock.now())
        if not granted:
            self._attempts.wait_started()
        return granted

    def admission_wait(self, wake: Callable[[], None]) -> float:
        """Seconds until this should be asked again, if not woken before; 0 means admitted.

        Raises:
            FlexUnavailable, FlexDeadlineExceeded, or the error of the last attempt: the last lane
                has not admitted the call for as long as it may wait.
        """
        if self._entry is not None and self._entry.is_busy:
            if (seconds := self._entry.recheck(self._ladder.cancel_at)) > 0:
                return seconds
            if self._entry.answer is not None or self.admit():
                return 0.0
        while True:
            now = self._clock.now()
            seconds = self._admission.recheck(now, wake)
            if seconds > 0 or self._admission.granted:
                return seconds
            self.step = self._ladder.not_admitted(now)
            if isinstance(self.step, GiveUp):
                raise self._not_admitted(self.step.limit)
            if self._admission.try_acquire(now):
                return 0.0

    def _not_admitted(self, limit: Limit) -> Exception:
        if limit == "deadline":
            error: Exception = self._deadline_exceeded(self.request())
            error.__cause__ = self._error
        elif self._error is not None:
            error = with_explanation(self._error, self._attempts.history(), limit)
        else:
            lane = self._ladder.lane.name
            error = unavailable_error(self._url, lane, self.model, self._attempts.history(), limit)
        self._finish(error=error)
        return error

    # --- an attempt: begin_attempt, then answered, failed or aborted ------------------------------

    def begin_attempt(self) -> Any:
        """Begin the next attempt; the SDK's options for it.

        Raises:
            FlexDeadlineExceeded: no time is left for one.
        """
        now = self._attempts.wait_ended()
        if self.journaled is not None:
            self.limit = math.inf
            return self.options
        if self._ladder.out_of_time(now):
            raise self._deadline_exceeded(self.request())
        if self._ladder.lane.deferred:
            self.limit, self._response, self._error = math.inf, None, None
            self._held = False
            if not self.is_batched and not self._background_accepted:
                self._admission.start(now)
            self._attempts.attempt_started(self._ladder.lane.name, now)
            return self.options
        self.limit, self.whole = self._ladder.attempt_timeout(now), None
        # A stream that has begun may last until the deadline itself.
        one_read = self.silence_limit() if self._stream else self.limit
        lane = self._ladder.lane
        self._adds_usage = (
            self._usage_requested is None
            and not (self._usage_refused or self.unstreamed)
            and self._account.base_url not in self._capacity.without_stream_usage
        )
        self._response = self._error = None
        self._admission.start(now)
        self._attempts.attempt_started(lane.name, now)
        return attempt_options(
            self.options,
            tier=lane.service_tier,
            timeout=self._timeout.for_attempt(one_read, externally_timed=self._externally_timed),
            plain=self.unstreamed,
            usage=self._adds_usage,
            on_read=self._keep_response,
            on_headers=self._headers_received,
        )

    def _keep_response(self, answer: Any) -> None:
        self._response = answer

    def _headers_received(self, headers: Mapping[str, str]) -> None:
        self._admission.headers_received(headers, self._clock.now())

    def answered(self, answer: Any, whole: Any) -> bool:
        """Whether the response ends the call; False: it reports a failure that is retried.

        ``whole`` is what the caller gets: the response, or the raw response that it is in.

        Responses may come with HTTP 200 and ``status: "failed"``. Without a further attempt, such
        a response ends the call and is returned, as the SDK does.
        """
        if self.journaled is not None:
            self._replayed(answer)
            return True
        failure = reported_failure(answer)
        if failure is None:
            self._journal_response(answer, whole if self._response is None else self._response)
            self._attempt_served(answer)
            return True
        self._decide(failure)
        if isinstance(self.step, Send):
            return False
        self._finish(service_tier_of(answer), usage_of(answer), model_of(answer))
        return True

    def _journal_response(self, answer: Any, whole: Any) -> None:
        """Write the response to the journal, as it is paid for, before the caller gets it."""
        self._journal(whole, service_tier_of(answer), request_id_of(answer))

    def _journal(self, response: Any, tier: str | None, request_id: str | None) -> None:
        if self._entry is None:
            return
        if self._ladder.lane.batched:
            self._entry.collected()
        else:
            self._entry.answered(self._lane_of(tier), self.model, response, request_id)

    def _attempt_served(self, answer: Any, error: BaseException | None = None) -> None:
        self.step = GiveUp("none")  # no error from here on leads to a retry
        now = self._attempts.attempt_ended(SERVED, status=200, request_id=request_id_of(answer))
        self._admission.served(now, timed=self._times_lane)
        self._finish(service_tier_of(answer), usage_of(answer), model_of(answer), error)

    def _replayed(self, answer: Any) -> None:
        """End the call with the response of the journal: nothing was sent, nothing is billed."""
        self.step = GiveUp("none")
        self._finish(usage=Usage(0, 0), model=model_of(answer))

    def failure_error(self, answer: Any) -> Exception:
        """The error for a response that reports a failure, for tenacity and listeners."""
        failure = reported_failure(answer) or Failure()
        return openai.APIError(
            failure.message, self.request(), body={"code": failure.code, "message": failure.message}
        )

    def failed(self, error: Exception) -> Exception:
        """Decide the next ``step`` after an error; the error to raise for it."""
        failure = failure_of(error) if self._attempts.in_flight else None
        if failure is None:
            self.aborted(error)
            return error
        self.step = GiveUp("none")  # until decided: an error in deciding must not be retried
        too_few = isinstance(error, BatchUnfinished) and error.status == "alone"
        self._not_a_retry = False
        kind = self._decide(failure, too_few=too_few)
        if isinstance(self.step, Send):
            self._error = error
            return error
        return self._give_up(error, kind, self.step.limit)

    def _decide(self, failure: Failure, *, too_few: bool = False) -> Kind:
        lane = self._ladder.lane
        kind = classify(failure, lane)
        if kind == "stream_unverified" and not self._stream:
            kind = "rejected"  # the call is no stream, so a call without one does not help
        added = self._adds_usage and kind in ("rejected", "transient")
        self._usage_refused = self._usage_refused or (added and rejects_stream_options(failure))
        outcome = "usage_unsupported" if self._adds_usage and self._usage_refused else kind
        now = self._attempts.attempt_ended(
            outcome, failure.status, failure.request_id, failure.sent
        )
        event = FailedAttempt(
            kind=kind,
            now=now,
            jitter=self._clock.random(),
            hint=retry_after(failure, kind, self._clock.wall()),
            no_retry=retry_forbidden(failure),
            refused=refused_limit(failure.type, failure.message, failure.headers),
        )
        if kind != "rate_limited":
            self._admission.headers_received(failure.headers, now)
        self._update_lane_status(event, failure)
        if outcome == "usage_unsupported":
            self._not_a_retry = True
            self.step = Send(lane)
        elif kind == "lane_unsupported" and (other := lane.alternative_for(failure)) is not None:
            self.step = self._ladder.replace_lane(other, now)
        elif too_few and (following := self._ladder.skip_lane()) is not None:
            # Too few calls for a batch: the call starts on the next lane, and this is no retry.
            self._not_a_retry = True
            if self._burst is not None:
                self._burst.window_expired()
            self._first_lane = following.name
            self.step = self._ladder.start(now)
        else:
            self.step = self._ladder.failed(event)
        return kind

    def aborted(self, error: BaseException) -> None:
        """End the call with an error that is no failure of the attempt: cancelled, or a bug."""
        self.step = GiveUp("none")
        if not self._attempts.in_flight:
            self.abandoned(error)
        elif self.body_read:
            # Answered and billed: the error is of the caller's own parser.
            self._journal_response(self._response, self._response)
            self._attempt_served(self._response, error)
        else:
            outcome = "error" if isinstance(error, Exception) else CANCELLED
            self._attempts.attempt_ended(outcome, sent=not self._unsent)
            self._finish(error=error)

    def abandoned(self, error: BaseException) -> None:
        """End the call without a response, also when it was cancelled between two attempts."""
        if not self._done:
            self._finish(error=error)

    def _give_up(self, error: Exception, kind: Kind, limit: Limit) -> Exception:
        if kind in ("timeout", "unfinished") and (limit == "deadline" or self._past_deadline()):
            exceeded = self._deadline_exceeded(error.request)  # type: ignore[attr-defined]
            exceeded.__cause__ = error
            error = exceeded
        elif limit != "none":
            with_explanation(error, self._attempts.history(), limit)
        self._finish(error=error)
        return error

    def _past_deadline(self) -> bool:
        return self._clock.now() >= self._ladder.deadline

    def _deadline_exceeded(self, request: Any) -> FlexDeadlineExceeded:
        return deadline_error(request, self._policy.deadline, self._attempts.history())

    # --- the state of lanes -----------------------------------------------------------------------

    def _lane_key(self, lane: Lane) -> LaneKey:
        return LaneKey(*self._account, self.model, lane.key)

    def _update_lane_status(self, event: FailedAttempt, failure: Failure) -> None:
        if self._entry is not None:
            if self._background_accepted:
                self._entry.discard_background()
            elif self.is_batched and event.kind == "timeout":
                self._entry.stop_waiting()
            elif self.is_batched:
                self._entry.batch_line_failed()
        lane = self._ladder.lane
        if event.kind == "lane_unsupported" and lane.unsupported_by_model(failure):
            self._capacity.mark_unsupported(self._lane_key(lane))
            if lane.alternative_for(failure) is None:
                self._capacity.mark_unsupported(self._lane_key(lane.fallback_variant or lane))
                if self._policy.lanes == ("flex", "standard"):  # the default
                    warn_about_windows(self.model)
        self._admission.failed(event)

    # --- deferred responses -----------------------------------------------------------------------

    @property
    def is_deferred(self) -> bool:
        """Whether the response is the journal's, or is polled for: batch and background."""
        return self._ladder.lane.deferred or self.journaled is not None

    @property
    def is_batched(self) -> bool:
        """Whether the call will be a line of a batch."""
        return self._ladder.lane.batched

    def abandon_batch(self, future: BatchFuture) -> None:
        """Do not wait any longer for the call's line of a batch."""
        self._unsent = not future.cancel()

    @property
    def read_options(self) -> Any:
        """The options to parse a deferred response with."""
        return with_read_callback(self.options, self._keep_response)

    @property
    def journaled(self) -> JournaledResponse | None:
        """The response that the journal has; None: it has none."""
        return None if self._entry is None else self._entry.answer

    @property
    def deferred_response(self) -> DeferredResponse:
        """How the call gets its response from the journal, a batch or the background."""
        from flextier.routing.deferred import DeferredResponse

        return DeferredResponse(
            self.options, self._account, self._policy, self._clock, self._entry, self._ladder
        )

    # --- background responses ---------------------------------------------------------------------

    def background_lifecycle(self) -> BackgroundLifecycle:
        """The lifecycle of the call's background response."""
        from flextier.background.call_hooks import CallHooks

        hooks = CallHooks(
            self._entry,
            self._admission,
            self._clock,
            self._ladder.lane.name,
            self.model,
            self._background_abandoned,
        )
        return self.deferred_response.background_lifecycle(hooks, self._scope.run)

    @property
    def _background_accepted(self) -> bool:
        """Whether the server has accepted the call's background response before."""
        return self._entry is not None and self._entry.background_response is not None

    def background_response(self, polled: PolledResponse) -> Any:
        """The HTTP response for a background response that has ended."""
        self._held = polled.answered_directly
        return self.deferred_response.background_response(polled)

    def _background_abandoned(self, polled: PolledResponse, answer: Any) -> None:
        """Take note of a background response that has ended after the call was abandoned."""
        self._held = polled.answered_directly
        self._keep_response(answer)

    # --- attempts that stall ----------------------------------------------------------------------

    @property
    def may_stall(self) -> bool:
        """Whether the attempt may stall, and :meth:`stalls_in` should be asked."""
        return self._admission.may_stall

    def stalls_in(self) -> float:
        """Seconds until a silent attempt should be checked again; 0 means it has stalled."""
        return self._admission.stalls_in(self._clock.now())

    # --- retries, as tenacity needs them ----------------------------------------------------------

    @property
    def has_next_attempt(self) -> bool:
        """Whether a further attempt follows the one that failed."""
        return isinstance(self.step, Send) and not self._done and not self._attempts.is_empty

    def should_retry(self, state: RetryCallState) -> bool:
        """Whether a further attempt follows, as tenacity's ``retry``."""
        return state.outcome is not None and state.outcome.failed and self.has_next_attempt

    def retry_wait(self, state: RetryCallState | None = None) -> float:
        """Seconds of backoff before the next attempt, as tenacity's ``wait``."""
        wait = self.step.wait if isinstance(self.step, Send) else 0.0
        if wait > 0:
            self._attempts.wait_started()
        return wait

    def notify(self, state: RetryCallState) -> None:
        """Notify the listeners of a retry."""
        if self._not_a_retry:
            return
        retry = self._retry(state)
        for listener in self._scope.retries:
            if inspect.isawaitable(awaitable := listener(retry)):
                _close(awaitable)
                warnings.warn(
                    f"callback {listener!r} is async; it cannot be notified by a sync call",
                    RuntimeWarning,
                    stacklevel=2,
                )

    async def anotify(self, state: RetryCallState) -> None:
        """Notify the listeners of a retry, async ones included."""
        if self._not_a_retry:
            return
        retry = self._retry(state)
        for listener in self._scope.retries:
            if inspect.isawaitable(awaitable := listener(retry)):
                await awaitable

    def _retry(self, state: RetryCallState) -> Retry:
        wait = self.step.wait if isinstance(self.step, Send) else 0.0
        lane = self._ladder.lane
        wait = max(wait, self._admission.opens_in(self._clock.now()))
        return Retry(self.model, self._attempts.last_attempt, lane.name, wait, state)

    def stream_opened(self, stream: Any) -> None:
        """Notify the listeners of the stream that is the call's response."""
        if self._entry is not None:
            self._entry.stream_opened()
        if self._usage_refused:
            self._capacity.without_stream_usage.add(self._account.base_url)
        for listener in self._scope.streams:
            listener(stream)

    # --- streams (StreamOwner) --------------------------------------------------------------------

    @property
    def is_whole(self) -> bool:
        """Whether the stream was made from a whole response."""
        return self.whole is not None

    def stream_recorder(self) -> StreamRecorder | None:
        """Writes the stream's response to the journal; None: it is not journaled, or from there."""
        if self._entry is None or self.journaled is not None:
            return None
        from flextier.routing.stream_recorder import StreamRecorder

        endpoint, _, _ = self.options.url.partition("?")
        return StreamRecorder(self._journal, self.whole, endpoint, number_of_choices(self.options))

    @property
    def withholds_usage(self) -> bool:
        """Whether to withhold the chunk of a stream that has its usage only: none was requested."""
        return not self._usage_requested

    @property
    def ends_reads_in_time(self) -> bool:
        """Whether a limit of this process ends the reads of a stream, and not only a socket's."""
        return self._externally_timed

    def silence_limit(self) -> float:
        """Seconds that a stream's next event may take: those of an attempt, within the deadline."""
        now = self._clock.now()
        return self._ladder.attempt_timeout(now, to_the_end=True)

    def stream_timeout(self, request: Any) -> openai.APITimeoutError:
        """The error for a stream that was silent for too long, or is past the deadline."""
        if self._past_deadline():
            return self._deadline_exceeded(request)
        return openai.APITimeoutError(request=request)

    def stream_ended(
        self, outcome: str, progress: StreamProgress, error: BaseException | None
    ) -> None:
        """End the call with its stream."""
        if self.journaled is not None:
            self._finish(usage=Usage(0, 0), model=progress.model, error=error)
            return
        if error is not None and not isinstance(error, Exception):
            outcome = CANCELLED
        now = self._attempts.attempt_ended(outcome, status=200, request_id=progress.request_id)
        (self._admission.served if outcome == SERVED else self._admission.release)(now)
        usage = progress.usage
        estimated = (
            usage is None
            and outcome == SERVED
            and self._usage_requested is not False
            and progress.text_size > 0
        )
        if estimated:
            usage = estimated_usage(self.options.json_data, progress.text_size)
        self._finish(progress.tier, usage, progress.model, error, usage_estimated=estimated)

    # --- the end ----------------------------------------------------------------------------------

    def _finish(
        self,
        tier: str | None = None,
        usage: Usage | None = None,
        model: str | None = None,
        error: BaseException | None = None,
        *,
        usage_estimated: bool = False,
    ) -> None:
        self._done, self._error = True, None
        if self._admission.is_held:
            self._admission.release(self._clock.now())
        if self._entry is not None:
            self._entry.release()
        requested = self._ladder.lane.name
        lane = self._lane_of(tier)
        fallback: str | None = self._ladder.fallback
        has_response = error is None or self.body_read
        if self._entry is not None and self._entry.paid_before and has_response:
            lane, fallback, usage = JOURNAL, None, Usage(0, 0)
        elif lane == self._first_lane:
            fallback = None  # it may have come back there
        elif fallback is None and lane != requested:
            fallback = "downgraded"
        report = self._attempts.report(
            self.model,
            lane,
            fallback=fallback,
            usage=usage,
            first_lane=self._first_lane,
            served_model=model,
            output_limit=output_limit(self.options),
            error=None if error is None else type(error).__name__,
            why=self._why,
            limits=self._limits,
            usage_estimated=usage_estimated,
        )
        if self._burst is not None:
            self._burst.leave()
        if isinstance(error, Exception):
            attach_report(error, report)
        for callback in (*self.cost_callbacks, *self._scope.reports):
            notify(callback, report)

    def _lane_of(self, tier: str | None) -> str:
        """The lane that is billed: by the response's tier, which a batch's does not state."""
        lane = self._ladder.lane
        if self._held:
            return tier_lane(tier or lane.service_tier).name
        if tier is None or lane.serves(tier):
            return lane.name
        return tier_lane(tier).name


def _close(awaitable: Awaitable[None]) -> None:
    close = getattr(awaitable, "close", None)
    if close is not None:
        close()
