"""FlexOpenAI and AsyncFlexOpenAI: the SDK's clients, with model calls sent down the ladder.

Every call of the SDK passes through ``request()``. There, chat completions and responses are
routed; tenacity drives the attempts; everything else passes untouched.
"""

from __future__ import annotations

import json
import warnings
from functools import lru_cache
from typing import Any, get_args

import anyio
import openai
from tenacity import AsyncRetrying, Retrying, TryAgain

from flextier._sdk import RAW_RESPONSE_HEADER, LegacyAPIResponse, is_given, not_given
from flextier.capacity import CAPACITY
from flextier.clock import SYSTEM_CLOCK, Clock
from flextier.errors import MalformedAnswerError
from flextier.onechunk import SETTINGS_URL, StreamUnverifiedWarning, as_event_stream
from flextier.policy import FlexPolicy
from flextier.routing import Route, Router, is_routed
from flextier.streams import AsyncFlexStream, FlexStream
from flextier.timeouts import Timeouts, merge_arguments
from flextier.transport import async_http_client, sync_http_client, time_limit


class _Routed:
    """What the two clients share: their router, and how answers are read."""

    _router: Router

    @property
    def policy(self) -> FlexPolicy:
        """The policy of this client, its own ``timeout`` and ``max_retries`` included."""
        return self._router.policy

    @classmethod
    def adopt(
        cls,
        client: Any,
        *,
        policy: FlexPolicy | None = None,
        timeout: Any = not_given,
        max_retries: Any = not_given,
        http_client: Any = None,
    ) -> Any:
        """A client of this class with everything else as in ``client``, a plain one of the SDK.

        Raises:
            PolicyError: ``timeout`` or ``max_retries`` contradicts ``policy``.
        """
        router = _new_router(policy, timeout, max_retries, SYSTEM_CLOCK)
        shell: Any = cls.__new__(cls)
        shell.__dict__.update(client.__dict__)
        shell._router = router
        # The SDK's own copy, so that nothing bound to the old client comes along.
        return shell.copy(http_client=http_client)

    def _copied(
        self, policy: FlexPolicy | None, timeout: Any, max_retries: Any, extra: Any
    ) -> dict[str, Any]:
        """The extra arguments of a copy. Its arguments are for it alone: they win, no conflict."""
        given = Timeouts.of(timeout) if is_given(timeout) else Timeouts()
        merged = merge_arguments(
            policy or self.policy, None, given, max_retries if is_given(max_retries) else None
        )
        timeouts = given if is_given(timeout) else self._router.timeouts
        router = Router(merged, self._router.clock, self._router.capacity, timeouts)
        return {**(extra or {}), "_router": router}


def _new_router(policy: FlexPolicy | None, timeout: Any, max_retries: Any, clock: Clock) -> Router:
    # A client-level None is what LangChain passes for "not given".
    timed = is_given(timeout) and timeout is not None
    timeouts = Timeouts.of(timeout) if timed else Timeouts()
    retries = max_retries if is_given(max_retries) else None
    merged = merge_arguments(policy or FlexPolicy(), policy, timeouts, retries)
    return Router(merged, clock, CAPACITY, timeouts)


class FlexOpenAI(_Routed, openai.OpenAI):
    """``openai.OpenAI`` whose model calls go through the flex lane and always come back.

    Args:
        policy: the knobs; None: :class:`FlexPolicy` from the environment.
        timeout: as for ``openai.OpenAI``; sets ``flex_timeout`` and ``standard_timeout``.
        max_retries: as for ``openai.OpenAI``; sets the policy's ``max_retries``.
        http_client: as for ``openai.OpenAI``. The default one keeps connections alive through
            minutes of silence, and ends attempts in time also when a body trickles in.
        clock: time, sleep and chance, for tests and rehearsals.
        **kwargs: every other argument of ``openai.OpenAI``.

    Raises:
        PolicyError: a setting is wrong, or an argument contradicts ``policy``.
    """

    def __init__(
        self,
        *,
        policy: FlexPolicy | None = None,
        timeout: Any = not_given,
        max_retries: Any = not_given,
        http_client: Any = None,
        clock: Clock = SYSTEM_CLOCK,
        _router: Router | None = None,
        **kwargs: Any,
    ) -> None:
        self._router = _router or _new_router(policy, timeout, max_retries, clock)
        if is_given(max_retries):
            kwargs["max_retries"] = max_retries
        super().__init__(timeout=timeout, http_client=http_client or sync_http_client(), **kwargs)

    def copy(  # the SDK's many arguments pass through kwargs
        self,
        *,
        policy: FlexPolicy | None = None,
        timeout: Any = not_given,
        max_retries: Any = not_given,
        _extra_kwargs: Any = None,
        **kwargs: Any,
    ) -> FlexOpenAI:
        """A client with other options, as ``openai.OpenAI.copy``, plus ``policy``."""
        extra = self._copied(policy, timeout, max_retries, _extra_kwargs)
        return super().copy(timeout=timeout, max_retries=max_retries, _extra_kwargs=extra, **kwargs)

    with_options = copy

    def request(  # the SDK's overloads, in one signature
        self, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None
    ) -> Any:
        """The SDK's one way out. Routed calls go down the ladder; the rest passes untouched."""
        if not is_routed(options):
            return super().request(cast_to, options, stream=stream, stream_cls=stream_cls)
        route = self._router.route(self, options)
        clock = self._router.clock
        if stream:
            stream_cls = _watched(stream_cls, FlexStream)
        try:
            if (wait := route.wait()) > 0:
                clock.sleep(wait)
            return self._attempt(route, cast_to, stream, stream_cls)
        except Exception as error:
            if not route.goes_on:
                raise
            failed = error
        except BaseException as error:
            route.abandoned(error)
            raise
        return self._try_on(failed, route, cast_to, stream, stream_cls)

    def _try_on(self, failed: Exception, route: Route, *call: Any) -> Any:
        """After the first attempt, which nearly always is the only one, tenacity takes over."""
        first = [failed]

        def attempt() -> Any:
            if first:
                raise first.pop()
            return self._attempt(route, *call)

        retrying = Retrying(
            retry=route.again,
            wait=route.wait,
            before_sleep=route.notify,
            sleep=self._router.clock.sleep,
        )
        try:
            return retrying(attempt)
        except BaseException as error:
            route.abandoned(error)
            raise

    def _attempt(self, route: Route, cast_to: Any, stream: bool, stream_cls: Any) -> Any:
        try:
            options = route.begin()
            with time_limit(route.limit):
                answer = self._send(route, cast_to, options, stream, stream_cls)
                parsed = _parsed(route, answer)
                if stream and isinstance(parsed, FlexStream):
                    parsed.open(route)
                    return answer
            return _done(route, answer, parsed)
        except TryAgain:
            raise
        except Exception as error:
            raised = route.failed(error)
            if raised is error:
                raise
            raise raised from error
        except BaseException as error:
            route.broken(error)
            raise

    def _send(self, route: Route, cast_to: Any, options: Any, stream: bool, stream_cls: Any) -> Any:
        try:
            if not route.plain:
                return super().request(cast_to, options, stream=stream, stream_cls=stream_cls)
            raw: Any = super().request(cast_to, options)
            return self._process_response(
                cast_to=cast_to,
                options=route.options,
                response=_one_chunk(route, raw.http_response),
                stream=True,
                stream_cls=stream_cls,
            )
        except json.JSONDecodeError as error:
            raise _unreadable(route, error) from error


class AsyncFlexOpenAI(_Routed, openai.AsyncOpenAI):
    """The async twin of :class:`FlexOpenAI`, with the same arguments.

    It may be used under several event loops, one after another or at once.
    """

    def __init__(
        self,
        *,
        policy: FlexPolicy | None = None,
        timeout: Any = not_given,
        max_retries: Any = not_given,
        http_client: Any = None,
        clock: Clock = SYSTEM_CLOCK,
        _router: Router | None = None,
        **kwargs: Any,
    ) -> None:
        self._router = _router or _new_router(policy, timeout, max_retries, clock)
        if is_given(max_retries):
            kwargs["max_retries"] = max_retries
        super().__init__(timeout=timeout, http_client=http_client or async_http_client(), **kwargs)

    def copy(  # the SDK's many arguments pass through kwargs
        self,
        *,
        policy: FlexPolicy | None = None,
        timeout: Any = not_given,
        max_retries: Any = not_given,
        _extra_kwargs: Any = None,
        **kwargs: Any,
    ) -> AsyncFlexOpenAI:
        """A client with other options, as ``openai.AsyncOpenAI.copy``, plus ``policy``."""
        extra = self._copied(policy, timeout, max_retries, _extra_kwargs)
        return super().copy(timeout=timeout, max_retries=max_retries, _extra_kwargs=extra, **kwargs)

    with_options = copy

    async def request(  # the SDK's overloads, in one signature
        self, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None
    ) -> Any:
        """The SDK's one way out. Routed calls go down the ladder; the rest passes untouched."""
        if not is_routed(options):
            return await super().request(cast_to, options, stream=stream, stream_cls=stream_cls)
        route = self._router.route(self, options)
        clock = self._router.clock
        if stream:
            stream_cls = _watched(stream_cls, AsyncFlexStream)
        try:
            if (wait := route.wait()) > 0:
                await clock.asleep(wait)
            return await self._attempt(route, cast_to, stream, stream_cls)
        except Exception as error:
            if not route.goes_on:
                raise
            failed = error
        except BaseException as error:
            route.abandoned(error)
            raise
        return await self._try_on(failed, route, cast_to, stream, stream_cls)

    async def _try_on(self, failed: Exception, route: Route, *call: Any) -> Any:
        """After the first attempt, which nearly always is the only one, tenacity takes over."""
        first = [failed]

        async def attempt() -> Any:
            if first:
                raise first.pop()
            return await self._attempt(route, *call)

        retrying = AsyncRetrying(
            retry=route.again,
            wait=route.wait,
            before_sleep=route.anotify,
            sleep=self._router.clock.asleep,
        )
        try:
            return await retrying(attempt)
        except BaseException as error:
            route.abandoned(error)
            raise

    async def _attempt(self, route: Route, cast_to: Any, stream: bool, stream_cls: Any) -> Any:
        try:
            options = route.begin()
            with _TimeLimit(route):
                answer = await self._send(route, cast_to, options, stream, stream_cls)
                parsed = _parsed(route, answer)
                if stream and isinstance(parsed, AsyncFlexStream):
                    await parsed.open(route)
                    return answer
            return _done(route, answer, parsed)
        except TryAgain:
            raise
        except Exception as error:
            raised = route.failed(error)
            if raised is error:
                raise
            raise raised from error
        except BaseException as error:
            route.broken(error)
            raise

    async def _send(
        self, route: Route, cast_to: Any, options: Any, stream: bool, stream_cls: Any
    ) -> Any:
        try:
            if not route.plain:
                return await super().request(cast_to, options, stream=stream, stream_cls=stream_cls)
            raw: Any = await super().request(cast_to, options)
            return await self._process_response(
                cast_to=cast_to,
                options=route.options,
                response=_one_chunk(route, raw.http_response),
                stream=True,
                stream_cls=stream_cls,
            )
        except json.JSONDecodeError as error:
            raise _unreadable(route, error) from error


class _TimeLimit:
    """End an async attempt within its limit, whatever it is waiting for."""

    __slots__ = ("_route", "_scope")

    def __init__(self, route: Route) -> None:
        self._route = route

    def __enter__(self) -> None:
        self._scope = anyio.move_on_after(self._route.limit)
        self._scope.__enter__()

    def __exit__(self, *exception: Any) -> bool | None:
        swallowed = self._scope.__exit__(*exception)
        if self._scope.cancelled_caught:
            raise openai.APITimeoutError(request=self._route.request())
        return swallowed


@lru_cache(maxsize=64)
def _watched(stream_cls: Any, watched: Any) -> Any:
    """Our class of stream, for the same events as the SDK's."""
    events = get_args(stream_cls)
    return watched[events] if events else stream_cls


def _parsed(route: Route, answer: Any) -> Any:
    """The answer itself, out of its raw response; read here, so that a bad one is noticed."""
    try:
        parsed = answer.parse() if isinstance(answer, LegacyAPIResponse) else answer
    except json.JSONDecodeError as error:
        raise _unreadable(route, error) from error
    if isinstance(parsed, str):
        # What the SDK makes of a content type other than JSON.
        raise MalformedAnswerError(
            message=f"the answer is not JSON, but begins {parsed[:80]!r}: is there a proxy or "
            "another server behind base_url?",
            request=route.request(),
        )
    return parsed


def _unreadable(route: Route, error: json.JSONDecodeError) -> Exception:
    if route.body_read:
        return error
    return MalformedAnswerError(
        message=f"the answer is cut or not JSON: {error}", request=route.request()
    )


def _done(route: Route, answer: Any, parsed: Any) -> Any:
    if not route.answered(parsed):
        raise TryAgain
    return answer


def _one_chunk(route: Route, response: Any) -> Any:
    """The HTTP response of a stream that says at once what a plain response says."""
    warnings.warn(
        f"{route.model}: OpenAI wants this organisation verified before it streams this model. The "
        f"answer was asked for without streaming and comes in one chunk. Verify at {SETTINGS_URL}",
        StreamUnverifiedWarning,
        stacklevel=2,
    )
    wanted = route.options.headers if is_given(route.options.headers) else {}
    raw = (
        {RAW_RESPONSE_HEADER: wanted[RAW_RESPONSE_HEADER]} if RAW_RESPONSE_HEADER in wanted else {}
    )
    options = route.options.json_data.get("stream_options") or {}
    kept = {
        name: value
        for name, value in response.headers.items()
        if name not in ("content-length", "content-encoding", "transfer-encoding", "content-type")
    }
    request = response.request
    return type(response)(
        200,
        headers={**kept, "content-type": "text/event-stream; charset=utf-8"},
        content=as_event_stream(response.json(), include_usage=bool(options.get("include_usage"))),
        request=type(request)(request.method, request.url, headers=raw),
    )
