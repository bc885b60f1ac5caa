"""How a model call of the SDK begins, and how its attempts are sent, written once for both clients.

Whatever waits is a step of a generator, which ``routing/driver.py`` takes in a thread or a task.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

from flextier._openai.error_conversion import api_error, failure_of, flex_unavailable
from flextier._openai.http_library import new_request
from flextier._openai.lean import exact_answer
from flextier._openai.private_names import (
    BaseAPIResponse,
    LegacyAPIResponse,
    get_async_library,
    is_given,
)
from flextier._openai.request_with_tier import (
    MAX_BYTES,
    AttemptBody,
    attempt_options,
    read_options,
)
from flextier._openai.requested_call import (
    call_of,
    is_journaled,
    raw_response_headers,
    request_facts,
)
from flextier._utils.interrupt import INTERRUPT, NO_BLOCK
from flextier._utils.wakeup import ThreadWait, task_wait
from flextier.calls import blocks, hooks
from flextier.calls.answer import Answer, why_unreadable
from flextier.calls.budget import budgets_in_force
from flextier.calls.call import Call
from flextier.calls.context import SCOPE, Scope
from flextier.capacity import AccountKey, LimiterRegistry
from flextier.capacity.account_key import account_key
from flextier.client import ledger_setting
from flextier.client.base import RoutedClient
from flextier.client.response_parsing import (
    flex_stream_class,
    no_answer,
    raise_when_parsed,
    single_chunk_response,
    undecodable,
    warn_unverified,
)
from flextier.client.router import client_closed
from flextier.errors import FlexDeadlineExceeded
from flextier.lanes import AUTO, CallFacts
from flextier.lanes.failures import Failure
from flextier.lanes.rate_limits import STATED
from flextier.routing.call import CallSetting, CallState
from flextier.routing.driver import adrive, attempts, drive
from flextier.routing.open_stream import owner_of_stream
from flextier.routing.plan import CallPlan, PlanCache, plan_call
from flextier.routing.policy_in_force import PolicyInForce, policy_of_call
from flextier.routing.steps import Request, Served, Steps
from flextier.routing.timeout_args import TimeoutArgument
from flextier.transport.attempt_limits import async_time_limit, time_limit
from flextier.transport.streams import AsyncFlexStream, FlexStream, StreamOwner
from flextier.variables import OFF, is_off

_timeout_for = lru_cache(maxsize=64)(TimeoutArgument.for_attempt)
"""The SDK's timeout objects, which are not changed."""

_UNLIMITED = nullcontext()


class RoutedRequests(RoutedClient):
    """The request path that both clients share; a mixin before the SDK's class."""

    _stream_class: Any
    """The class of routed streams."""
    _new_wait: Callable[[], Any]
    """Makes a wait that another thread or task can end."""
    _time_limit: Callable[..., AbstractContextManager[Any]]
    """Ends the attempt inside when its time is up, or when it has stalled."""
    _idempotency_header: Any
    _library: Callable[[], str] = staticmethod(str)
    """Returns the name of the async library that runs the code; empty: none does."""
    _ends_in_time = False
    """Whether attempts end in time without per-read timers, whatever the HTTP client."""

    def _send(self, *args: Any, **kwargs: Any) -> Any:
        """The SDK's own ``request()``."""
        sdk: Any = super()
        return sdk.request(*args, **kwargs)

    def _steps(
        self, call: Call, cast_to: Any, options: Any, stream: bool, stream_cls: Any
    ) -> Steps[Any]:
        """The steps of a call that begins now.

        Raises:
            ClientClosedError: the client was closed.
            PolicyError: an override in force does not fit the policy.
            BudgetExceeded: a budget in force is spent.
            JournalError: the journal cannot be used.
        """
        if stream:
            stream_cls = flex_stream_class(stream_cls, self._stream_class)
        exchange = CallExchange(self, call, cast_to, options, stream, stream_cls)
        setting = self._begun(call, exchange)
        scope = setting.scope
        if setting.policy.gateway is None or scope.simulated or scope.local is not None:
            return attempts(self._state(call, exchange, setting), self._new_wait)
        from flextier.gateway.routes import through_gateway  # most programs have none

        def direct() -> Steps[Any]:
            return attempts(self._state(call, exchange, setting), self._new_wait)

        return through_gateway(call, exchange, setting, self._new_wait, direct)

    def _begun(self, call: Call, exchange: CallExchange) -> CallSetting:
        """What a call is made with that begins now."""
        client: Any = self
        router = self._router
        if client.is_closed():
            raise client_closed(client)
        scope = SCOPE.get()
        if scope.local is not None and not scope.local.is_open:
            scope = scope.local.left(scope)
        if not scope.simulated and (scope.blocks or blocks.open_blocks):
            blocks.call_begins(scope.blocks)
        in_force = self._policy_of(exchange, scope)
        policy = in_force.policy
        charges: list[Any] = []
        if scope.local is None and (policy.budget is not None or scope.budgets):
            for spending, limit, knob in budgets_in_force(policy.budget, scope):
                spending.check(limit, knob)
                charges.append(spending.charge)
        in_time = self._ends_in_time or getattr(client._client, "enforces_time_limit", False)
        exchange.ends_reads_in_time = in_time and not call.reads_body
        exchange.account = account = self._account()
        setting = CallSetting(policy, account, router.capacity, router.clock, scope)
        setting.limits, setting.charges = in_force.limits, charges
        return setting

    def _state(self, call: Call, exchange: CallExchange, setting: CallSetting) -> CallState:
        """The state of a call that takes the lanes of this process."""
        if setting.scope.local is not None:
            return self._answered_locally(call, exchange, setting)
        router, account, policy = self._router, setting.account, setting.policy
        if not ledger_setting.is_read and not setting.scope.simulated:
            ledger_setting.start_process_ledger()
        if hooks.call_hooks or hooks.listeners:
            setting.begins(call)
        if hooks.recorder is not None:
            setting.scope = hooks.with_recorder(setting.scope)
        known = router.plans.plans.get((account, call.model))
        if (
            known is not None
            and known[0] == router.capacity.version
            and known[1] is policy
            and call.tier is None
        ):
            plan = known[2]
        else:
            plan = self._planned(call, setting, exchange)
        return CallState(call, plan, setting, exchange)

    def _answered_locally(
        self, call: Call, exchange: CallExchange, setting: CallSetting
    ) -> CallState:
        """A call that a quote answers: its lanes are the real ones, of which nothing is learnt."""
        changes = {"journal": None, "budget": None, "start_jitter": 0.0}
        setting.policy = setting.policy.model_copy(update=changes)
        exchange.ends_reads_in_time, clock, account = True, setting.clock, setting.account
        status = self._router.plans.status(account, call.model)
        plan = plan_call(call, setting.policy, status, exchange.facts, stock=is_off())
        setting.capacity = LimiterRegistry()
        status = PlanCache(setting.capacity, clock).status(account, call.model)
        return CallState(call, plan._replace(status=status), setting, exchange)

    def _policy_of(self, exchange: CallExchange, scope: Scope) -> PolicyInForce:
        """The policy of a call, resolved once; the exchange gets the ``timeout`` in force."""
        router, given = self._router, exchange.options.timeout
        exchange.timeout = timeout = router.arguments.timeout
        if is_given(given):
            exchange.timeout = timeout = TimeoutArgument.from_argument(given, timeout)
        elif not scope.changes and scope.until is None and not os.environ.get(OFF):
            return router.unchanged
        return policy_of_call(router.given, timeout, scope, router.clock)

    def _account(self) -> AccountKey:
        """The account: the state of lanes is kept for each."""
        client: Any = self
        router = self._router
        if client.base_url is not router.url:
            router.url, router.url_text = client.base_url, str(client.base_url)
        # A provider may return another key each time, so it identifies the account itself.
        provider = getattr(client, "_api_key_provider", None)
        key = client.api_key if provider is None else f"provider {id(provider)}"
        return account_key(router.url_text, key, client.organization, client.project)

    def _planned(self, call: Call, setting: CallSetting, exchange: CallExchange) -> CallPlan:
        """The plan of a call whose lanes are not known from the call before."""
        policy, plans, account = setting.policy, self._router.plans, setting.account
        pending, stock = None, is_off()
        if policy.journal is not None and is_journaled(exchange.options, call):
            from flextier.journal.call_entry import CallEntry  # most programs have no journal

            entry = CallEntry(account.base_url, exchange.facts(), policy, setting.clock)
            if stock and entry.pending_lane is not None:
                entry.stop_waiting()
            setting.entry, pending = entry, entry.pending_lane
        no_batch: Callable[[], str] = str
        if policy.lanes == (AUTO,) and call.tier is None:
            from flextier.planning.burst import BurstMembership  # most programs have no auto

            run = None if setting.scope.run is None else setting.scope.run()
            setting.burst = BurstMembership(run, (*account, call.model), setting.clock)
            no_batch = partial(setting.burst.no_batch_reason, policy)
        try:
            plan = plan_call(
                call,
                policy,
                plans.status(account, call.model),
                exchange.facts,
                pending,
                no_batch,
                stock=stock,
            )
        except BaseException:
            if setting.entry is not None:
                setting.entry.release()
            if setting.burst is not None:
                setting.burst.leave()
            raise
        if policy is self._router.unchanged.policy and setting.entry is None:
            plans.keep(account, call, policy, plan)
        return plan

    def _idempotency_key(self) -> str:
        """As the SDK's, which has no header that it would be sent in."""
        sdk: Any = super()
        return sdk._idempotency_key() if self._idempotency_header else ""

    def _build_request(self, options: Any, **kwargs: Any) -> Any:
        """As the SDK's, with the limit of the response for our own HTTP clients."""
        sdk: Any = super()
        body = options.json_data
        if not isinstance(body, AttemptBody):
            return sdk._build_request(options, **kwargs)
        kwargs["retries_taken"] = body.retries
        build = partial(sdk._build_request, options, **kwargs)
        request = self._http_requests.build(self, options, self._library(), build)
        if body.max_bytes is not None:
            request.extensions = {**request.extensions, MAX_BYTES: body.max_bytes}
        return request

    def _process_response(self, *, options: Any, response: Any, stream: bool, **kwargs: Any) -> Any:
        """As the SDK's, which both clients call for each response that is no error."""
        body = options.json_data
        if isinstance(body, AttemptBody) and body.received is not None:
            received, body.received = body.received, None  # the options may live long
            received(response, stream)
            kwargs["retries_taken"] = body.retries
        elif not stream and response.is_closed and (call := call_of(options)) is not None:
            _decoded(call.endpoint, response)
        sdk: Any = super()
        return sdk._process_response(options=options, response=response, stream=stream, **kwargs)

    def _process_response_data(self, *, data: Any, cast_to: Any, response: Any) -> Any:
        """As the SDK's, for answers and for events of streams."""
        answer = exact_answer(cast_to, data)
        if answer is not None:
            return answer
        sdk: Any = super()
        return sdk._process_response_data(data=data, cast_to=cast_to, response=response)


class SyncRequests(RoutedRequests):
    """The request path of the sync client."""

    _stream_class = FlexStream
    _new_wait = ThreadWait

    def request(  # the SDK's overloads, in one signature
        self, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None
    ) -> Any:
        """Send every request of the SDK: model calls through the lanes, all others unchanged."""
        if (call := call_of(options)) is None:
            return self._send(cast_to, options, stream=stream, stream_cls=stream_cls)
        steps = self._steps(call, cast_to, options, stream, stream_cls)
        return drive(steps, self._router.clock)

    @staticmethod
    def _time_limit(
        seconds: float, stalls_in: Callable[[], float] | None, new_request: Callable[[], Any]
    ) -> AbstractContextManager[Any]:
        interrupt = INTERRUPT.get()
        return time_limit(
            seconds, stalls_in if interrupt is NO_BLOCK else interrupt.polled(stalls_in)
        )


class AsyncRequests(RoutedRequests):
    """The request path of the async client."""

    _stream_class = AsyncFlexStream
    _new_wait = staticmethod(task_wait)
    _library = staticmethod(get_async_library)
    _ends_in_time = True

    async def request(  # the SDK's overloads, in one signature
        self, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None
    ) -> Any:
        """Send every request of the SDK: model calls through the lanes, all others unchanged."""
        if (call := call_of(options)) is None:
            return await self._send(cast_to, options, stream=stream, stream_cls=stream_cls)
        steps = self._steps(call, cast_to, options, stream, stream_cls)
        return await adrive(steps, self._router.clock)

    @staticmethod
    def _time_limit(
        seconds: float, stalls_in: Callable[[], float] | None, new_request: Callable[[], Any]
    ) -> AbstractContextManager[Any]:
        if seconds == math.inf:
            return _UNLIMITED
        return async_time_limit(seconds, stalls_in, new_request)


@dataclass(slots=True, eq=False)
class CallExchange:
    """The requests and responses of one call (:class:`flextier.routing.executors.Transport`).

    It does not refer to the call's state: a stream that is dropped must give its permit back at
    once, and not when the garbage collector finds a cycle.
    """

    client: Any
    _call: Call
    _cast_to: Any
    options: Any
    """The SDK's options as the caller gave them."""
    _stream: bool
    _stream_cls: Any
    answer: Answer | None = None
    _request_id: str | None = None
    account: AccountKey = field(init=False)
    timeout: TimeoutArgument = field(init=False)
    ends_reads_in_time: bool = field(init=False)

    # --- attempts ---------------------------------------------------------------------------------

    def check_open(self) -> None:
        if self.client.is_closed():
            raise client_closed(self.client)

    def attempt(self, state: CallState, new_wait: Callable[[], Any]) -> Steps[Served]:
        """Send an attempt, and read its answer; a stream is open at the end."""
        client, stream = self.client, self._stream
        # A stream that has begun may last until the deadline itself.
        read = state.silence_limit() if self._call.stream else state.limit
        stalls_in = state.stalls_in
        options = attempt_options(
            self.options,
            tier=state.tier,
            timeout=_timeout_for(self.timeout, read, externally_timed=self.ends_reads_in_time),
            plain=state.plain,
            usage=state.adds_usage,
            received=partial(self._received, state),
            max_bytes=None
            if stream and not state.plain
            else state.setting.policy.max_response_bytes,
            retries=len(state.log.attempts),
        )
        with client._time_limit(state.limit, stalls_in, self.new_request):
            try:
                if not state.plain:
                    result = yield Request(
                        partial(
                            client._send,
                            self._cast_to,
                            options,
                            stream=stream,
                            stream_cls=self._stream_cls,
                        )
                    )
                else:
                    raw = yield Request(partial(client._send, self._cast_to, options))
                    warn_unverified(self._call.model)
                    result = yield from self._parsed(state, raw.http_response)
            except RuntimeError:
                self.check_open()  # what openai 3 raises for one closed at this very moment
                raise
            return (yield from self._served(result, partial(owner_of_stream, state)))

    def read(self, state: CallState, response: Any) -> Steps[Served]:
        """The end of an attempt whose HTTP response came in another way."""
        result = yield from self._parsed(state, response)
        return (yield from self._served(result, partial(owner_of_stream, state)))

    def read_for(self, owner: StreamOwner, response: Any) -> Steps[Served]:
        """The result of an HTTP response that comes from a gateway; ``owner`` gets its stream."""
        result = yield from self._processed(read_options(self.options, self._read_body), response)
        return (yield from self._served(result, lambda: owner))

    def _parsed(self, state: CallState, response: Any) -> Steps[Any]:
        """The SDK's result for an HTTP response that it has not received itself."""
        if response.status_code >= 400:
            raise self.client._make_status_error_from_response(response)
        if self._stream:
            options, state.whole = self.options, response.content
            body = _decoded(self._call.endpoint, response)
            response = single_chunk_response(options, body, response)
            self.answer = None
        else:
            options = read_options(self.options, partial(self._received, state))
        return (yield from self._processed(options, response))

    def _processed(self, options: Any, response: Any) -> Steps[Any]:
        return (
            yield Request(
                partial(
                    self.client._process_response,
                    cast_to=self._cast_to,
                    options=options,
                    response=response,
                    stream=self._stream,
                    stream_cls=self._stream_cls,
                )
            )
        )

    def _received(self, state: CallState, response: Any, stream: bool) -> None:
        """Read what the report and the limiter need of a response, before the SDK parses it.

        Raises:
            MalformedAnswerError: it is no answer.
        """
        headers = response.headers
        if any(map(headers.__contains__, STATED)):
            state.headers_received(headers)
        self._read_body(response, stream)

    def _read_body(self, response: Any, stream: bool) -> None:
        self._request_id = response.headers.get("x-request-id")
        if not stream and response.is_closed:
            body = _decoded(self._call.endpoint, response)
            self.answer = Answer(body, response.content, self._request_id)
            response.json = DecodedBody(response.content, body)

    def _served(self, result: Any, owner: Callable[[], StreamOwner]) -> Steps[Served]:
        unread = self._stream and isinstance(result, BaseAPIResponse)
        if unread:  # of with_streaming_response: its parse() returns the same stream again
            parsed = yield Request(result.parse)
        elif not isinstance(result, LegacyAPIResponse):
            parsed = result
        else:  # also a raw response is parsed here, so that errors in it are noticed
            try:
                parsed = result.parse()
            except Exception as error:
                if self._stream or self.failure_of(error) is not None:
                    raise
                raise_when_parsed(result, error)
                return Served(result, self.answer, self._request_id, error=error)
        if not self._stream or not isinstance(parsed, self.client._stream_class):
            return Served(result, self.answer, self._request_id)
        yield Request(partial(parsed.open, owner(), readable_as_bytes=unread))
        return Served(result, stream=parsed)

    def send_raw(self, options: Any) -> Any:
        self.check_open()
        return self.client._send(object, options)

    # --- in the SDK's terms -----------------------------------------------------------------------

    def facts(self) -> CallFacts:
        return request_facts(self.options, self._call)

    @property
    def _url(self) -> str:
        return self.account.url(str(self.options.url))

    def new_request(self) -> Any:
        return new_request(self._url, raw_response_headers(self.options))

    failure_of = staticmethod(failure_of)

    def failed_response(self, failure: Failure) -> Exception:
        body = {"code": failure.code, "message": failure.message}
        return api_error(failure.message, self.new_request(), body)

    def unavailable(self, message: str) -> Exception:
        return flex_unavailable(self._url, message)

    def deadline_exceeded(self, message: str, request: Any) -> Exception:
        return FlexDeadlineExceeded(request or self.new_request(), message)


class DecodedBody:
    """The ``json`` method of a response whose body has been decoded: the SDK decodes it, too."""

    def __init__(self, content: bytes, body: Any) -> None:
        self._content = content
        self._body = body

    def __call__(self, **kwargs: Any) -> Any:
        return json.loads(self._content, **kwargs) if kwargs else self._body


def _decoded(endpoint: str, response: Any) -> dict[str, Any]:
    """The body of a response, which the SDK does not check.

    Raises:
        MalformedAnswerError: it is no answer of the endpoint.
    """
    try:
        body: Any = response.json()
    except (ValueError, RecursionError) as error:  # also bad UTF-8, huge numbers, deep nesting
        raise undecodable(response, error) from error
    if why := why_unreadable(endpoint, body):
        raise no_answer(response, why)
    return body  # type: ignore[no-any-return]  # why_unreadable has checked that
