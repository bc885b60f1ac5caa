"""One routed call: its options in, its attempts recorded, the next step decided. No I/O.

Both clients drive a :class:`Route` in the same way; they differ only in how they wait.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import openai
from tenacity import RetryCallState

from flextier._openai.compat import failure_of, new_request
from flextier._openai.request_options import (
    attempt_options,
    caller_reads_body,
    chosen_tier,
    output_limit,
    request_facts,
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
from flextier.calls.attempt_log import AttemptLog
from flextier.calls.context import Scope
from flextier.calls.report import CANCELLED, SERVED, CallReport, Retry, attach_report
from flextier.capacity import Capacity, LaneKey
from flextier.errors import BatchUnfinished, FlexDeadlineExceeded
from flextier.lanes import AUTO, JOURNAL, Asked, Lane, choose, tell_of_windows, tier_lane
from flextier.lanes.failures import Failure, Kind, classify
from flextier.lanes.retry_after import retry_after, retry_forbidden
from flextier.planning.admission import Turn
from flextier.planning.fallback import Event, Ladder, Limit, Stop, Try
from flextier.planning.lane_status import Known
from flextier.policy import FlexPolicy
from flextier.pricing.usage import Usage
from flextier.routing.final_errors import explained, late, shut
from flextier.routing.timeout_args import TimeoutArgument
from flextier.transport.streams import StreamProgress

if TYPE_CHECKING:
    from flextier.background.api import Said
    from flextier.background.lifecycle import Course
    from flextier.batch.future import Ticket
    from flextier.journal.call_entry import Memory
    from flextier.journal.records import Recorded
    from flextier.planning.burst_membership import Joined
    from flextier.routing.deferred import Fetching


class Route:
    """The state of one call. Made by :meth:`flextier.client.router.Router.route`."""

    # Tens of thousands may wait at once.
    __slots__ = (
        "_answer", "_capacity", "_clock", "_done", "_error", "_first_lane", "_held", "_joined",
        "_ladder", "_memory", "_passed", "_policy", "_record", "_scope", "_stream", "_timed",
        "_timeouts", "_turn", "_unsent", "_watched", "_where", "_why", "charged", "limit", "model",
        "options", "step",
    )  # fmt: skip

    def __init__(
        self,
        options: Any,
        policy: FlexPolicy,
        timeouts: TimeoutArgument,
        watched: bool,
        scope: Scope,
        clock: Clock,
        capacity: Capacity,
        where: tuple[str, str],
        memory: Memory | None = None,
        told: Asked | None = None,
    ) -> None:
        self.options = options
        """The SDK's options as the caller gave them."""
        self.model = str(options.json_data.get("model", ""))
        self._stream = bool(options.json_data.get("stream"))
        self._policy = policy
        self._timeouts = timeouts
        self._watched = watched
        self._scope = scope
        self._clock = clock
        self._capacity = capacity
        self._where = where
        self._record = AttemptLog(clock)
        self._answer: Any = None
        self._done = False
        self.charged: Sequence[Callable[[CallReport], None]] = ()
        """Who is told what the call cost, before anybody else."""
        self._timed = not self._stream and not caller_reads_body(options)
        """Whether the time of an attempt is the lane's, and not that of whoever reads a body."""
        self.limit = 0.0
        """Seconds that the current attempt may take in all."""
        gate = self._capacity.gate(*where, self.model)
        known = Known(self._capacity, self._clock, where, self.model, gate)
        self._why = ""
        self._joined: Joined | None = None
        if (tier := chosen_tier(options)) is not None:
            lanes = [tier_lane(tier)]
        elif policy.lanes == (AUTO,):
            told = told or request_facts(options)
            lanes = self._planned(known, told)
        else:
            lanes = known.lanes(policy)
        self._first_lane = lanes[0].name
        self._memory = memory
        plain = declined = foreign = False
        underway = None if memory is None else memory.underway
        if underway is not None or any(lane.offline for lane in lanes):
            foreign = underway is not None and underway.name not in {lane.name for lane in lanes}
            chosen = choose(lanes, told or request_facts(options), underway)
            declined = all(lane.name != lanes[0].name for lane in chosen.lanes)
            plain, lanes = chosen.plain, chosen.lanes
        self._error: Exception | None = None
        self._held = self._unsent = self._passed = False
        self._ladder = Ladder(policy, lanes, self._record.began, known.shut_for, known.took, plain)
        if foreign:
            self._ladder.visit()
        self._turn = Turn(gate, self._ladder, policy)
        self.step: Try | Stop = self._ladder.start(self._record.began)
        if declined and self._ladder.fallback is None:
            self._ladder.fallback = "lane_unsupported"
        if policy.start_jitter:
            self.step = replace(self.step, wait=policy.start_jitter * self._clock.random())

    def _planned(self, known: Known, told: Asked) -> list[Lane]:
        """The ladder that follows from the model and the deadline."""
        from flextier.planning.burst_membership import Joined

        run = None if self._scope.run is None else self._scope.run()
        self._joined = Joined(run, (*self._where, self.model), self._clock)
        planned = known.plan(self._policy, told, self._joined.apart(self._policy))
        self._why = planned.why
        return planned.lanes

    @property
    def plain(self) -> bool:
        """Whether the current attempt asks for a plain answer where a stream was wanted."""
        return isinstance(self.step, Try) and self.step.plain

    @property
    def body_read(self) -> bool:
        """Whether the answer was JSON: what goes wrong from here on is the caller's parser's."""
        return self._answer is not None

    def request(self) -> Any:
        """A request for an error that must carry one, where the real one is not at hand."""
        return new_request(self._url)

    @property
    def _url(self) -> str:
        return self._where[0].rstrip("/") + str(self.options.url)

    # --- its turn -----------------------------------------------------------------------------

    def may_go(self) -> bool:
        """Ask for leave to send the next attempt. False: it is to wait for it, see :meth:`look`."""
        if self._memory is not None:
            self._memory.refresh()
            if self._memory.is_busy:
                self._record.waiting()
                return False
            if self._memory.answer is not None:
                return True
            underway = self._memory.underway
            if underway is not None and underway.name != self._ladder.lane.name:
                self._ladder.detour(underway)  # somebody else has sent it there meanwhile
            if self._is_running:
                return True  # what was accepted before needs nobody's leave
        granted = self._turn.ask(self._clock.now())
        if not granted:
            self._record.waiting()
        return granted

    def look(self, wake: Callable[[], None]) -> float:
        """Seconds to wait for the turn, or until woken, before looking again; 0: go on.

        Raises:
            FlexUnavailable, FlexDeadlineExceeded, or the error of the last attempt: the last lane
                has not let the call in for as long as it may wait.
        """
        if self._memory is not None and self._memory.is_busy:
            if (seconds := self._memory.look(self._ladder.withdraw_by)) > 0:
                return seconds
            if self._memory.answer is not None or self.may_go():
                return 0.0
        while True:
            now = self._clock.now()
            seconds = self._turn.look(now, wake)
            if seconds > 0 or self._turn.granted:
                return seconds
            self.step = self._ladder.turned_away(now)
            if isinstance(self.step, Stop):
                raise self._turned_away(self.step.limit)
            if self._turn.ask(now):
                return 0.0

    def _turned_away(self, limit: Limit) -> Exception:
        if limit == "deadline":
            error: Exception = self._deadline_exceeded(self.request())
            error.__cause__ = self._error
        elif self._error is not None:
            error = explained(self._error, self._record.history(), limit)
        else:
            lane = self._ladder.lane.name
            error = shut(self._url, lane, self.model, self._record.history(), limit)
        self._finish(error=error)
        return error

    # --- an attempt: begin, and one of answered / failed / broken -----------------------------

    def begin(self) -> Any:
        """Start the next attempt: the SDK's options for it.

        Raises:
            FlexDeadlineExceeded: there is no time left for one.
        """
        now = self._record.awake()
        if self.remembered is not None:
            self.limit = math.inf
            return self.options
        if self._ladder.out_of_time(now):
            raise self._deadline_exceeded(self.request())
        if self._ladder.lane.offline:
            self.limit, self._answer, self._error = math.inf, None, None
            self._held = False
            if not self.pooled and not self._is_running:
                self._turn.begin(now)
            self._record.sending(self._ladder.lane.name, now)
            return self.options
        self.limit = self._ladder.attempt_timeout(now)
        # A stream that has begun may go on to the deadline itself.
        one_read = self.silence_limit() if self._stream else self.limit
        lane = self._ladder.lane
        self._answer = self._error = None
        self._turn.begin(now)
        self._record.sending(lane.name, now)
        return attempt_options(
            self.options,
            tier=lane.service_tier,
            timeout=self._timeouts.attempt(one_read, watched=self._watched),
            plain=self.plain,
            on_read=self._read,
        )

    def _read(self, answer: Any) -> None:
        self._answer = answer

    def answered(self, answer: Any, whole: Any) -> bool:
        """The attempt was answered. False: the answer tells of a failure that is tried again.

        ``whole`` is what the caller gets: the answer, or the raw response that it is in.

        Responses may come with HTTP 200 and ``status: "failed"``. When nothing is left to try,
        such an answer ends the call: the SDK hands it over, too.
        """
        if self.remembered is not None:
            self._replayed(answer)
            return True
        failure = reported_failure(answer)
        if failure is None:
            self._remember(answer, whole if self._answer is None else self._answer)
            self._served(answer)
            return True
        self._decide(failure)
        if isinstance(self.step, Try):
            return False
        self._finish(service_tier_of(answer), usage_of(answer), model_of(answer))
        return True

    def _remember(self, answer: Any, whole: Any) -> None:
        """The answer is paid for: have the journal know before anybody gets it."""
        if self._memory is None:
            return
        if self._ladder.lane.pooled:
            self._memory.harvested()
        else:
            self._memory.answered(
                self._lane_of(service_tier_of(answer)), self.model, whole, request_id_of(answer)
            )

    def _served(self, answer: Any, error: BaseException | None = None) -> None:
        self.step = Stop("none")  # whatever goes wrong from here on, it is not asked for again
        now = self._record.ended(SERVED, status=200, request_id=request_id_of(answer))
        self._turn.served(now, timed=self._timed)
        self._finish(service_tier_of(answer), usage_of(answer), model_of(answer), error)

    def _replayed(self, answer: Any) -> None:
        """The journal had the answer: nothing was sent, and nothing is billed."""
        self.step = Stop("none")
        self._finish(usage=Usage(0, 0), model=model_of(answer))

    def vain(self, answer: Any) -> Exception:
        """The error for an answer that told of a failure: what tenacity and listeners see."""
        failure = reported_failure(answer) or Failure()
        return openai.APIError(
            failure.message, self.request(), body={"code": failure.code, "message": failure.message}
        )

    def failed(self, error: Exception) -> Exception:
        """The attempt failed: decides ``step``, and gives the error to raise for it."""
        failure = failure_of(error) if self._record.in_flight else None
        if failure is None:
            self.broken(error)
            return error
        self.step = Stop("none")  # until decided: an error in deciding is not tried for ever
        alone = isinstance(error, BatchUnfinished) and error.status == "alone"
        self._passed = False
        kind = self._decide(failure, alone=alone)
        if isinstance(self.step, Try):
            self._error = error
            return error
        return self._given_up(error, kind, self.step.limit)

    def _decide(self, failure: Failure, *, alone: bool = False) -> Kind:
        lane = self._ladder.lane
        kind = classify(failure, lane)
        if kind == "stream_unverified" and not self._stream:
            kind = "rejected"  # nothing was streamed, so there is no way around it
        now = self._record.ended(kind, failure.status, failure.request_id, failure.sent)
        event = Event(
            kind=kind,
            now=now,
            jitter=self._clock.random(),
            hint=retry_after(failure, kind, self._clock.wall()),
            go_away=retry_forbidden(failure),
        )
        self._learn(event, failure)
        if kind == "lane_unsupported" and (other := lane.other(failure)) is not None:
            self.step = self._ladder.instead(other, now)
        elif alone and (following := self._ladder.pass_over()) is not None:
            # It was not worth a file: the call is meant for the next lane, and nothing is retried.
            self._passed = True
            if self._joined is not None:
                self._joined.missed()
            self._first_lane = following.name
            self.step = self._ladder.start(now)
        else:
            self.step = self._ladder.failed(event)
        return kind

    def broken(self, error: BaseException) -> None:
        """The attempt ended in something that is no failure of it: cancelled, or a bug."""
        self.step = Stop("none")
        if not self._record.in_flight:
            self.abandoned(error)
        elif self.body_read:
            # Answered and billed: it is the caller's parser that the answer does not suit.
            self._remember(self._answer, self._answer)
            self._served(self._answer, error)
        else:
            outcome = "error" if isinstance(error, Exception) else CANCELLED
            self._record.ended(outcome, sent=not self._unsent)
            self._finish(error=error)

    def abandoned(self, error: BaseException) -> None:
        """The call is over without an answer; told for cancellations between two attempts, too."""
        if not self._done:
            self._finish(error=error)

    def _given_up(self, error: Exception, kind: Kind, limit: Limit) -> Exception:
        if kind in ("timeout", "unfinished") and (limit == "deadline" or self._late()):
            exceeded = self._deadline_exceeded(error.request)  # type: ignore[attr-defined]
            exceeded.__cause__ = error
            error = exceeded
        elif limit != "none":
            explained(error, self._record.history(), limit)
        self._finish(error=error)
        return error

    def _late(self) -> bool:
        return self._clock.now() >= self._ladder.deadline

    def _deadline_exceeded(self, request: Any) -> FlexDeadlineExceeded:
        return late(request, self._policy.deadline, self._record.history())

    # --- what lanes are known to be -----------------------------------------------------------

    def _key(self, lane: Lane) -> LaneKey:
        return LaneKey(*self._where, self.model, lane.key)

    def _learn(self, event: Event, failure: Failure) -> None:
        if self._memory is not None:
            if self._is_running:
                self._memory.called_off()
            elif self.pooled and event.kind == "timeout":
                self._memory.take_over()
            elif self.pooled:
                self._memory.lost()
        lane = self._ladder.lane
        if event.kind == "lane_unsupported" and lane.lasting(failure):
            self._capacity.never(self._key(lane))
            if lane.other(failure) is None:
                self._capacity.never(self._key(lane.instead or lane))
                if self._policy.lanes == ("flex", "standard"):  # nothing else was thought of
                    tell_of_windows(self.model)
        self._turn.failed(event)

    # --- answers that are fetched -------------------------------------------------------------

    @property
    def offline(self) -> bool:
        """Whether the answer comes on no connection of its own: the journal has it, a batch or the
        background."""
        return self._ladder.lane.offline or self.remembered is not None

    @property
    def pooled(self) -> bool:
        """Whether the call is to be a line of a batch."""
        return self._ladder.lane.pooled

    def left(self, ticket: Ticket) -> None:
        """The call's line of a batch is not waited for any more."""
        self._unsent = not ticket.leave()

    @property
    def reading(self) -> Any:
        """The options by which an answer is read that was fetched."""
        return with_read_callback(self.options, self._read)

    @property
    def remembered(self) -> Recorded | None:
        """The answer that the journal has; None: the call is to be made."""
        return None if self._memory is None else self._memory.answer

    @property
    def fetching(self) -> Fetching:
        """How the call gets an answer that does not come on a connection of its own."""
        from flextier.routing.deferred import Fetching

        return Fetching(
            self.options, self._where, self._policy, self._clock, self._memory, self._ladder
        )

    # --- background responses -----------------------------------------------------------------

    def course(self) -> Course:
        """The course of the call's background response."""
        from flextier.background.call_hooks import CallsAccount

        account = CallsAccount(
            self._memory, self._turn, self._clock, self._ladder.lane.name, self.model, self._unheard
        )
        return self.fetching.course(account, self._scope.run)

    @property
    def _is_running(self) -> bool:
        """Whether the call's background response was accepted before."""
        return self._memory is not None and self._memory.running is not None

    def had(self, said: Said) -> Any:
        """The HTTP response for a background response that has ended."""
        self._held = said.held
        return self.fetching.ended(said)

    def _unheard(self, said: Said, answer: Any) -> None:
        """The background response has ended, and nobody waits for its answer."""
        self._held = said.held
        self._read(answer)

    # --- attempts that stall ------------------------------------------------------------------

    @property
    def may_stall(self) -> bool:
        """Whether the attempt begun is to be watched by :meth:`stalls_in`."""
        return self._turn.may_stall

    def stalls_in(self) -> float:
        """Seconds until a silent attempt should be looked at again; 0: it is to be given up."""
        return self._turn.stalls_in(self._clock.now())

    # --- tenacity's questions -----------------------------------------------------------------

    @property
    def goes_on(self) -> bool:
        """Whether there is to be another attempt after the one that failed."""
        return isinstance(self.step, Try) and not self._done and not self._record.empty

    def again(self, state: RetryCallState) -> bool:
        """Whether there is to be another attempt."""
        return state.outcome is not None and state.outcome.failed and self.goes_on

    def wait(self, state: RetryCallState | None = None) -> float:
        """Seconds before the next attempt."""
        wait = self.step.wait if isinstance(self.step, Try) else 0.0
        if wait > 0:
            self._record.waiting()
        return wait

    def notify(self, state: RetryCallState) -> None:
        """Tell the listeners of a new try."""
        if self._passed:
            return
        retry = self._retry(state)
        for listener in self._scope.retries:
            if inspect.isawaitable(told := listener(retry)):
                _close(told)
                warnings.warn(
                    f"{listener!r} is async and hears nothing of the retries of a sync call",
                    RuntimeWarning,
                    stacklevel=2,
                )

    async def anotify(self, state: RetryCallState) -> None:
        """Tell the listeners of a new try, async ones included."""
        if self._passed:
            return
        retry = self._retry(state)
        for listener in self._scope.retries:
            if inspect.isawaitable(told := listener(retry)):
                await told

    def _retry(self, state: RetryCallState) -> Retry:
        wait = self.step.wait if isinstance(self.step, Try) else 0.0
        lane = self._ladder.lane
        wait = max(wait, self._turn.opens_in(self._clock.now()))
        return Retry(self.model, self._record.last, lane.name, wait, state)

    def opened(self, stream: Any) -> None:
        """The call's answer is this stream."""
        for tell in self._scope.streams:
            tell(stream)

    # --- streams (StreamOwner) ----------------------------------------------------------------

    def silence_limit(self) -> float:
        """Seconds that a stream's next event may take: an attempt's, within the deadline."""
        now = self._clock.now()
        return self._ladder.attempt_timeout(now, to_the_end=True)

    def stream_timeout(self, request: Any) -> openai.APITimeoutError:
        """The error for a stream that was silent too long, or is past the deadline."""
        if self._late():
            return self._deadline_exceeded(request)
        return openai.APITimeoutError(request=request)

    def stream_ended(
        self, outcome: str, watch: StreamProgress, error: BaseException | None
    ) -> None:
        """The stream that answered the call is over."""
        if error is not None and not isinstance(error, Exception):
            outcome = CANCELLED
        now = self._record.ended(outcome, status=200, request_id=watch.request_id)
        (self._turn.served if outcome == SERVED else self._turn.over)(now)
        self._finish(watch.tier, watch.usage, watch.model, error)

    # --- the end ------------------------------------------------------------------------------

    def _finish(
        self,
        tier: str | None = None,
        usage: Usage | None = None,
        model: str | None = None,
        error: BaseException | None = None,
    ) -> None:
        self._done, self._error = True, None
        if self._turn.open:
            self._turn.over(self._clock.now())
        if self._memory is not None:
            self._memory.release()
        asked = self._ladder.lane.name
        lane = self._lane_of(tier)
        fallback: str | None = self._ladder.fallback
        had = error is None or self.body_read
        if self._memory is not None and self._memory.paid_before and had:
            lane, fallback, usage = JOURNAL, None, Usage(0, 0)
        elif lane == self._first_lane:
            fallback = None  # it may have come there by a detour
        elif fallback is None and lane != asked:
            fallback = "downgraded"
        report = self._record.report(
            self.model,
            lane,
            fallback=fallback,
            usage=usage,
            first_lane=self._first_lane,
            served_model=model,
            output_limit=output_limit(self.options),
            error=None if error is None else type(error).__name__,
            why=self._why,
        )
        if self._joined is not None:
            self._joined.leave()
        if isinstance(error, Exception):
            attach_report(error, report)
        for callback in (*self.charged, *self._scope.reports):
            notify(callback, report)

    def _lane_of(self, tier: str | None) -> str:
        """The lane that is billed: what the answer says; a batch's says nothing of that."""
        lane = self._ladder.lane
        if self._held:
            return tier_lane(tier or lane.service_tier).name
        if tier is None or lane.serves(tier):
            return lane.name
        return tier_lane(tier).name


def _close(told: Awaitable[None]) -> None:
    close = getattr(told, "close", None)
    if close is not None:
        close()
