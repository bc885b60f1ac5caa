"""One routed call: its options in, its attempts recorded, the next step decided. No I/O.

Both clients drive a :class:`Route` in the same way; they differ only in how they wait.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import warnings
from collections.abc import Awaitable
from functools import lru_cache, partial
from typing import Any

import openai
from tenacity import RetryCallState

from flextier._sdk import (
    RAW_RESPONSE_HEADER,
    FinalRequestOptions,
    failure_of,
    is_given,
    new_request,
)
from flextier.calls import (
    CANCELLED,
    SERVED,
    Attempt,
    CallReport,
    Scope,
    attach_report,
    current_scope,
)
from flextier.capacity import Capacity, LaneKey
from flextier.clock import Clock
from flextier.costs.usage import Usage
from flextier.errors import ClientClosedError, FlexDeadlineExceeded
from flextier.failures import Failure, Kind, classify, server_wait, told_to_go_away
from flextier.ladder import REFUSED_FOR, Event, Ladder, Limit, Stop, Try
from flextier.lanes import LANES, Lane, tier_lane
from flextier.policy import FlexPolicy
from flextier.streams import Watch
from flextier.timeouts import Arguments, Timeouts

_ROUTED = frozenset({"/chat/completions", "/responses"})
# Values of `service_tier` that leave the choice to us; any other is the caller's own choice.
_OPEN_TIERS = frozenset({None, "auto", "flex"})


def is_routed(options: FinalRequestOptions) -> bool:
    """Whether a request is a model call that lanes apply to; all else passes untouched."""
    return (
        options.url.partition("?")[0] in _ROUTED  # client.beta adds ?beta=true
        and options.method.lower() == "post"
        and isinstance(options.json_data, dict)
    )


class Router:
    """What a client knows that its calls need: the policy, the clock, the lanes' state."""

    def __init__(
        self, policy: FlexPolicy, clock: Clock, capacity: Capacity, arguments: Arguments
    ) -> None:
        self.policy = policy
        self.clock = clock
        self.capacity = capacity
        self.arguments = arguments
        self._url: Any = None
        self._url_text = ""

    def route(self, client: openai.OpenAI | openai.AsyncOpenAI, options: Any) -> Route:
        """Begin a call.

        Raises:
            ClientClosedError: the client was closed.
            PolicyError: an override in force does not fit the policy.
        """
        if client.is_closed():
            raise ClientClosedError(
                f"this {type(client).__name__} (or the http_client it was given) has been closed: "
                "make a new one, or keep its `with` block open while calls run"
            )
        scope = current_scope()
        policy = self.policy.replace(**dict(scope.changes)) if scope.changes else self.policy
        timeouts = self.arguments.timeouts
        if is_given(options.timeout):
            timeouts = Timeouts.of(options.timeout, timeouts)
            policy = timeouts.applied_to(policy)
        return Route(options, policy, timeouts, scope, self, self._where(client))

    def _where(self, client: openai.OpenAI | openai.AsyncOpenAI) -> tuple[str, str]:
        """Base URL and account: what lanes are remembered for."""
        url = client.base_url
        if url is not self._url:
            self._url, self._url_text = url, str(url)
        # A key that is asked for anew each time is no name; who is asked for it, is.
        provider = getattr(client, "_api_key_provider", None)
        key = client.api_key if provider is None else f"provider {id(provider)}"
        return self._url_text, _account(key, client.organization, client.project)


@lru_cache(maxsize=64)
def _account(api_key: str, organization: str | None, project: str | None) -> str:
    """A name for an account that gives nothing away."""
    words = "\0".join((api_key, organization or "", project or ""))
    return hashlib.sha256(words.encode()).hexdigest()[:12]


class Route:
    """The state of one call. Made by :meth:`Router.route`."""

    def __init__(
        self,
        options: Any,
        policy: FlexPolicy,
        timeouts: Timeouts,
        scope: Scope,
        router: Router,
        where: tuple[str, str],
    ) -> None:
        self._options = options
        self._body: dict[str, Any] = options.json_data
        self._policy = policy
        self._timeouts = timeouts
        self._scope = scope
        self._clock = router.clock
        self._capacity = router.capacity
        self._where = where
        self.model = str(self._body.get("model", ""))
        self._attempts: list[Attempt] = []
        self._waited = 0.0
        self._limit = 0.0
        self._done = False
        self._unparsed: Any = None
        self.body_read = False
        """Whether the attempt's answer was JSON: errors from here on are the caller's parser's."""
        self._in_flight = False
        self._waiting = False
        self._began = self._sent = self._idle_since = self._clock.now()
        self._lanes = self._choose_lanes()
        # Not a method of ours: that would tie a knot that only the garbage collector unties.
        shut = partial(_shut_for, self._capacity, self._clock, where, self.model)
        self._ladder = Ladder(policy, self._lanes, self._began, shut)
        self.step: Try | Stop = self._ladder.start(self._began)

    def _choose_lanes(self) -> tuple[Lane, ...]:
        tier = self._body.get("service_tier")
        if self._options.extra_json:  # which wins over the body on the wire
            tier = self._options.extra_json.get("service_tier", tier)
        if tier in _OPEN_TIERS or not is_given(tier):
            return tuple(LANES[name] for name in self._policy.lanes)
        return (tier_lane(str(tier)),)

    # --- an attempt: begin, and one of answered / failed / broken -----------------------------

    def begin(self) -> Any:
        """Start the next attempt: the SDK's options for it.

        Raises:
            FlexDeadlineExceeded: there is no time left for one.
        """
        self._sent = self._clock.now()
        self.body_read = False
        self._waited += self._sent - self._idle_since if self._waiting else 0.0
        self._waiting = False
        if self._ladder.out_of_time(self._sent):
            raise self._deadline_exceeded(self.request())
        self._limit = self._ladder.attempt_timeout(self._sent)
        self._in_flight = True
        return self._options.model_copy(update=self._changes())

    @property
    def limit(self) -> float:
        """Seconds that the current attempt may take in all."""
        return self._limit

    def _http_timeout(self) -> float:
        """Seconds for one read. A stream that has begun may go on to the deadline itself."""
        return self.silence_limit() if self._body.get("stream") else self._limit

    @property
    def plain(self) -> bool:
        """Whether the current attempt asks for a plain answer where a stream was wanted."""
        return isinstance(self.step, Try) and self.step.plain

    def _post_parser(self) -> Any:
        """The caller's parser, which runs once the body has been read."""
        parse = self._options.post_parser

        def read(answer: Any) -> Any:
            self.body_read, self._unparsed = True, answer
            return parse(answer)

        return read

    @property
    def options(self) -> Any:
        """The SDK's options as the caller gave them."""
        return self._options

    def _changes(self) -> dict[str, Any]:
        tier = self._ladder.lane.service_tier
        changes: dict[str, Any] = {
            "json_data": {**self._body, "service_tier": tier},
            "timeout": self._timeouts.attempt(self._http_timeout()),
            "max_retries": 0,
        }
        extra = self._options.extra_json
        if extra and "service_tier" in extra:
            changes["extra_json"] = {**extra, "service_tier": tier}
        if is_given(self._options.post_parser):
            changes["post_parser"] = self._post_parser()
        if self.plain:
            changes["json_data"] = {
                k: v for k, v in changes["json_data"].items() if k not in _STREAM_FIELDS
            }
            headers = dict(self._options.headers) if is_given(self._options.headers) else {}
            changes["headers"] = {**headers, RAW_RESPONSE_HEADER: "true"}
        return changes

    def answered(self, answer: Any) -> bool:
        """The attempt was answered. False: the answer tells of a failure that is tried again.

        Responses may come with HTTP 200 and ``status: "failed"``. When nothing is left to try,
        such an answer ends the call: the SDK hands it over, too.
        """
        failure = _failure_told(answer)
        if failure is None:
            self._answered(answer)
            return True
        self._decide(failure)
        if isinstance(self.step, Try):
            return False
        self._finish(_tier(answer), _usage(answer))
        return True

    def _answered(self, answer: Any, error: BaseException | None = None) -> None:
        request_id = getattr(answer, "_request_id", None) or getattr(answer, "request_id", None)
        self._record(SERVED, status=200, request_id=request_id)
        self._finish(_tier(answer), _usage(answer), error)

    def vain(self, answer: Any) -> Exception:
        """The error for an answer that told of a failure: what tenacity and listeners see."""
        failure = _failure_told(answer) or Failure()
        return openai.APIError(
            failure.message, self.request(), body={"code": failure.code, "message": failure.message}
        )

    def failed(self, error: Exception) -> Exception:
        """The attempt failed: decides ``step``, and gives the error to raise for it."""
        failure = failure_of(error) if self._in_flight else None
        if failure is None:
            self.broken(error)
            return error
        self.step = Stop("none")  # until decided: an error in deciding is not tried for ever
        kind = self._decide(failure)
        if isinstance(self.step, Try):
            return error
        return self._given_up(error, kind, self.step.limit)

    def _decide(self, failure: Failure) -> Kind:
        kind = classify(failure, self._ladder.lane)
        if kind == "stream_unverified" and not self._body.get("stream"):
            kind = "rejected"  # nothing was streamed, so there is no way around it
        now = self._record(kind, failure.status, failure.request_id, failure.sent)
        event = Event(
            kind=kind,
            now=now,
            jitter=self._clock.random(),
            hint=server_wait(failure, kind, self._clock.wall()),
            go_away=told_to_go_away(failure),
        )
        self._learn(event)
        self.step = self._ladder.failed(event)
        return kind

    def broken(self, error: BaseException) -> None:
        """The attempt ended in something that is no failure of it: cancelled, or a bug."""
        if self._done:
            return
        self.step = Stop("none")
        if self._in_flight and self._unparsed is not None:
            # Answered and billed: it is the caller's parser that the answer does not suit.
            self._answered(self._unparsed, error)
            return
        if self._in_flight:
            self._record("error" if isinstance(error, Exception) else CANCELLED)
        self._finish(error=error)

    def abandoned(self, error: BaseException) -> None:
        """The call is over without an answer; told for cancellations between two attempts, too."""
        if not self._done:
            self._finish(error=error)

    def _record(
        self,
        outcome: str,
        status: int | None = None,
        request_id: str | None = None,
        sent: bool = True,
    ) -> float:
        self._in_flight = False
        self._idle_since = now = self._clock.now()
        lane = self._ladder.lane.name
        self._attempts.append(Attempt(lane, outcome, now - self._sent, status, request_id, sent))
        return now

    def _given_up(self, error: Exception, kind: Kind, limit: Limit) -> Exception:
        if kind == "timeout" and (limit == "deadline" or self._late()):
            exceeded = self._deadline_exceeded(error.request)  # type: ignore[attr-defined]
            exceeded.__cause__ = error
            error = exceeded
        else:
            _add_note(error, self._explain(limit))
        self._finish(error=error)
        return error

    def _late(self) -> bool:
        return self._clock.now() >= self._ladder.deadline

    def _deadline_exceeded(self, request: Any) -> FlexDeadlineExceeded:
        return FlexDeadlineExceeded(
            request,
            f"no answer within the deadline of {self._policy.deadline or math.inf:g} s "
            f"({self._history()}); raise FlexPolicy.deadline (FLEXTIER_DEADLINE)",
        )

    def _explain(self, limit: Limit) -> str:
        hint = _KNOBS.get(limit, "")
        return f"flextier: gave up after {self._history()}{hint}"

    def request(self) -> Any:
        """A request for an error that must carry one, where the real one is not at hand."""
        return new_request(self._where[0].rstrip("/") + self._options.url)

    def _history(self) -> str:
        steps = [f"{a.lane}: {a.outcome}" for a in self._attempts]
        if self._in_flight:
            steps.append(f"{self._ladder.lane.name}: cut off")
        tried = ", ".join(steps[-6:]) or "no attempt"
        more = "…, " if len(steps) > 6 else ""
        count = len(steps)
        return f"{count} attempt{'s' * (count != 1)} ({more}{tried}), {self._waited:.1f} s waited"

    # --- what lanes are known to be -----------------------------------------------------------

    def _key(self, lane: Lane) -> LaneKey:
        return LaneKey(*self._where, self.model, lane.name)

    def _learn(self, event: Event) -> None:
        lane = self._ladder.lane
        if event.kind == "lane_unsupported":
            self._capacity.shut(self._key(lane), math.inf)
        elif event.kind == "capacity" and (event.hint is not None or event.go_away):
            wait = REFUSED_FOR if event.hint is None else event.hint
            self._capacity.shut(self._key(lane), event.now + wait)

    # --- tenacity's questions -----------------------------------------------------------------

    @property
    def goes_on(self) -> bool:
        """Whether there is to be another attempt after the one that failed."""
        return isinstance(self.step, Try) and not self._done and bool(self._attempts)

    def again(self, state: RetryCallState) -> bool:
        """Whether there is to be another attempt."""
        return state.outcome is not None and state.outcome.failed and self.goes_on

    def wait(self, state: RetryCallState | None = None) -> float:
        """Seconds before the next attempt."""
        wait = self.step.wait if isinstance(self.step, Try) else 0.0
        self._waiting = wait > 0
        return wait

    def notify(self, state: RetryCallState) -> None:
        """Tell the listeners of a new try."""
        for listener in self._scope.retries:
            if inspect.isawaitable(told := listener(state)):
                _close(told)
                warnings.warn(
                    f"{listener!r} is async and hears nothing of the retries of a sync call",
                    RuntimeWarning,
                    stacklevel=2,
                )

    async def anotify(self, state: RetryCallState) -> None:
        """Tell the listeners of a new try, async ones included."""
        for listener in self._scope.retries:
            if inspect.isawaitable(told := listener(state)):
                await told

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

    def stream_ended(self, outcome: str, watch: Watch, error: BaseException | None) -> None:
        """The stream that answered the call is over."""
        if error is not None and not isinstance(error, Exception):
            outcome = CANCELLED
        self._record(outcome, status=200, request_id=watch.request_id)
        self._finish(watch.tier, watch.usage, error)

    # --- the end ------------------------------------------------------------------------------

    def _finish(
        self,
        tier: str | None = None,
        usage: Usage | None = None,
        error: BaseException | None = None,
    ) -> None:
        self._done = True
        asked = self._ladder.lane
        lane = tier_lane(tier).name if tier else asked.name
        fallback: str | None = self._ladder.fallback
        if fallback is None and lane != asked.name:
            fallback = "downgraded"
        now = self._clock.now()
        if self._waiting:  # cancelled in a wait
            self._waited += now - self._idle_since
        report = CallReport(
            model=self.model,
            lane=lane,
            attempts=tuple(self._attempts),
            waited=self._waited,
            elapsed=now - self._began,
            fallback=fallback,
            usage=usage,
        )
        if isinstance(error, Exception):
            attach_report(error, report)
        for tell in self._scope.reports:
            tell(report)


_STREAM_FIELDS = frozenset({"stream", "stream_options"})

_KNOBS: dict[Limit, str] = {
    "patience": "; FlexPolicy.patience (FLEXTIER_PATIENCE) is spent: raise it, or add a lane "
    "to FlexPolicy.lanes (FLEXTIER_LANES)",
    "deadline": "; another try would not fit FlexPolicy.deadline (FLEXTIER_DEADLINE)",
    "max_retries": "; FlexPolicy.max_retries (FLEXTIER_MAX_RETRIES) is spent. If no server answers "
    "at all, check base_url (OPENAI_BASE_URL)",
    "server": "; the server asked not to retry (x-should-retry: false)",
}


def _shut_for(
    capacity: Capacity, clock: Clock, where: tuple[str, str], model: str, lane: Lane
) -> float:
    return capacity.shut_for(LaneKey(*where, model, lane.name), clock.now())


def _tier(answer: Any) -> str | None:
    tier = getattr(answer, "service_tier", None)
    return tier if isinstance(tier, str) else None


def _usage(answer: Any) -> Usage | None:
    return Usage.from_openai(getattr(answer, "usage", None))


def _add_note(error: Exception, note: str) -> None:
    """PEP 678's add_note, which Python 3.10 does not have."""
    notes: list[str] = getattr(error, "__notes__", [])
    error.__notes__ = [*notes, note]


def _close(told: Awaitable[None]) -> None:
    close = getattr(told, "close", None)
    if close is not None:
        close()


def _failure_told(answer: Any) -> Failure | None:
    if getattr(answer, "object", None) != "response":
        return None
    error = getattr(answer, "error", None)
    if error is None or getattr(answer, "status", None) != "failed":
        return None
    return Failure(code=getattr(error, "code", None), message=getattr(error, "message", "") or "")
