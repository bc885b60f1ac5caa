"""FlexOpenAI and AsyncFlexOpenAI: the SDK's clients, with model calls routed through the lanes.

Every call of the SDK passes through ``request()``. There, chat completions and responses are
routed, with tenacity driving the retries; all other calls pass unchanged.
"""

from __future__ import annotations

import json
import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import openai
from tenacity import AsyncRetrying, Retrying

from flextier._openai.request_options import is_routed
from flextier._utils.wakeup import ThreadWait, task_wait
from flextier.background.waiters import await_stopped, stop_waiters, wait_stopped, waiters_of
from flextier.client.base import RoutedClient
from flextier.client.response_parsing import (
    flex_stream_class,
    malformed_error,
    parse_response,
    response_or_failure,
    single_chunk_response,
    warn_unverified,
)
from flextier.client.router import check_open
from flextier.routing.call import Route
from flextier.transport.attempt_timeout import async_time_limit, time_limit
from flextier.transport.http_clients import async_http_client, enforces_time_limit, sync_http_client
from flextier.transport.streams import AsyncFlexStream, FlexStream

_UNLIMITED = nullcontext()


class FlexOpenAI(RoutedClient, openai.OpenAI):
    """``openai.OpenAI`` whose model calls take the cheapest lane that answers in time.

    Args:
        policy: the settings; None: :class:`FlexPolicy` from the environment.
        timeout: as for ``openai.OpenAI``; sets ``flex_timeout`` and ``standard_timeout``.
        max_retries: as for ``openai.OpenAI``; sets the policy's ``max_retries``.
        http_client: as for ``openai.OpenAI``. The default one keeps connections alive through
            minutes of silence, and ends attempts in time even when a body trickles in.
        clock: time, sleep and chance, for tests and rehearsals.
        **kwargs: every other argument of ``openai.OpenAI``.

    Raises:
        PolicyError: a setting is wrong, or an argument contradicts ``policy``.
    """

    _default_http_client = staticmethod(sync_http_client)

    @property
    def _ends_attempts_in_time(self) -> bool:
        """Whether attempts end in time without per-read timers: our own HTTP client ensures it."""
        return enforces_time_limit(self._client)

    def request(  # the SDK's overloads, in one signature
        self, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None
    ) -> Any:
        """Send every request of the SDK: model calls through the lanes, all others unchanged."""
        if not is_routed(options):
            return super().request(cast_to, options, stream=stream, stream_cls=stream_cls)
        route = self._router.route(self, options)
        clock = self._router.clock
        if stream:
            stream_cls = flex_stream_class(stream_cls, FlexStream)
        try:
            if (wait := route.retry_wait()) > 0:
                clock.sleep(wait)
            self._wait_for_admission(route)
            return self._attempt(route, cast_to, stream, stream_cls)
        except Exception as error:
            if not route.has_next_attempt:
                route.abandoned(error)
                raise
            failed = error
        except BaseException as error:
            route.abandoned(error)
            raise
        return self._retry_attempts(failed, route, cast_to, stream, stream_cls)

    def _wait_for_admission(self, route: Route) -> None:
        """Wait until the lane admits the next attempt, or the call falls back to another lane."""
        if route.admit():
            return
        wait = ThreadWait()
        try:
            while True:
                wait.prepare()
                if (seconds := route.admission_wait(wait.wake)) <= 0:
                    return
                self._router.clock.pause(wait, seconds)
        except BaseException as error:
            route.aborted(error)  # else tenacity would take it for an attempt that failed
            raise

    def _retry_attempts(self, failed: Exception, route: Route, *call: Any) -> Any:
        """Have tenacity drive the attempts after the first, which is nearly always the only one."""
        first = [failed]

        def attempt() -> Any:
            if first:
                raise first.pop()
            self._wait_for_admission(route)
            return self._attempt(route, *call)

        retrying = Retrying(
            retry=route.should_retry,
            wait=route.retry_wait,
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
            check_open(self)
            options = route.begin_attempt()
            with time_limit(route.limit, route.stalls_in if route.may_stall else None):
                deferred = self._deferred_response(route) if route.is_deferred else None
                answer = self._send(route, deferred, cast_to, options, stream, stream_cls)
                read = parse_response(route, answer)
                if stream and isinstance(read, FlexStream):
                    read.open(route)
                    route.stream_opened(read)
                    return answer
        except Exception as error:
            raised = route.failed(error)
            if raised is error:
                raise
            raise raised from error
        except BaseException as error:
            route.aborted(error)
            raise
        return response_or_failure(route, answer, read)

    def _send(
        self,
        route: Route,
        deferred: Any,
        cast_to: Any,
        options: Any,
        stream: bool,
        stream_cls: Any,
    ) -> Any:
        try:
            if deferred is not None:
                return self._parse_response(route, deferred, cast_to, stream, stream_cls)
            if not route.unstreamed:
                return super().request(cast_to, options, stream=stream, stream_cls=stream_cls)
            raw: Any = super().request(cast_to, options)
            warn_unverified(route)
            return self._parse_response(route, raw.http_response, cast_to, stream, stream_cls)
        except json.JSONDecodeError as error:
            raise malformed_error(route, error) from error
        except RuntimeError:
            check_open(self)  # what openai 3 raises for a client closed at this very moment
            raise

    def close(self) -> None:
        """As ``openai.OpenAI.close``; before, background responses of waiting calls are cancelled,
        or returned where they have finished."""
        if (pending := stop_waiters(self._client)) is not None:
            wait_stopped(pending)
        super().close()

    def _deferred_response(self, route: Route) -> Any:
        """The HTTP response for a call from the journal, a batch or the background."""
        wait = ThreadWait()
        while True:
            while (seconds := route.deferred_response.wait_for_duplicate()) > 0:
                self._router.clock.sleep(seconds)
            if (journaled := route.journaled) is not None:
                return route.deferred_response.replay(journaled)
            if not route.is_batched:
                return self._background_response(route)
            future = route.deferred_response.submit(self)
            try:
                wait.prepare()
                while (seconds := future.seconds_to_wait(wait)) > 0:
                    self._router.clock.pause(wait, seconds)
                    wait.prepare()
            except BaseException:
                route.abandon_batch(future)
                raise
            if (response := route.deferred_response.batch_response(future)) is not None:
                return response

    def _background_response(self, route: Route) -> Any:
        """The HTTP response for a call that is a background response, once that has ended."""
        from flextier.background.runner import drive

        request = openai.OpenAI.request

        def send(options: Any) -> Any:
            check_open(self)
            raw: Any = request(self, object, options)
            return raw.http_response

        pending = waiters_of(self._client)
        lifecycle = route.background_lifecycle()
        return route.background_response(drive(lifecycle, pending, self._router.clock, send))

    def _parse_response(
        self, route: Route, response: Any, cast_to: Any, stream: bool, stream_cls: Any
    ) -> Any:
        """The SDK's result for an HTTP response that it has not received itself."""
        if response.status_code >= 400:
            raise self._make_status_error_from_response(response)
        return self._process_response(
            cast_to=cast_to,
            options=route.options if stream else route.read_options,
            response=single_chunk_response(route, response) if stream else response,
            stream=stream,
            stream_cls=stream_cls,
        )


class AsyncFlexOpenAI(RoutedClient, openai.AsyncOpenAI):
    """The async version of :class:`FlexOpenAI`, with the same arguments.

    It can be used under several event loops, one after another or at once.
    """

    _default_http_client = staticmethod(async_http_client)
    _ends_attempts_in_time = True

    @staticmethod
    def _time_limit(route: Route) -> AbstractContextManager[Any]:
        if route.limit == math.inf:
            return _UNLIMITED
        stalls_in = route.stalls_in if route.may_stall else None
        return async_time_limit(route.limit, stalls_in, route.request)

    async def request(  # the SDK's overloads, in one signature
        self, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None
    ) -> Any:
        """Send every request of the SDK: model calls through the lanes, all others unchanged."""
        if not is_routed(options):
            return await super().request(cast_to, options, stream=stream, stream_cls=stream_cls)
        route = self._router.route(self, options)
        clock = self._router.clock
        if stream:
            stream_cls = flex_stream_class(stream_cls, AsyncFlexStream)
        try:
            if (wait := route.retry_wait()) > 0:
                await clock.async_sleep(wait)
            await self._wait_for_admission(route)
            return await self._attempt(route, cast_to, stream, stream_cls)
        except Exception as error:
            if not route.has_next_attempt:
                route.abandoned(error)
                raise
            failed = error
        except BaseException as error:
            route.abandoned(error)
            raise
        return await self._retry_attempts(failed, route, cast_to, stream, stream_cls)

    async def _wait_for_admission(self, route: Route) -> None:
        """Wait until the lane admits the next attempt, or the call falls back to another lane."""
        if route.admit():
            return
        wait = task_wait()
        try:
            while True:
                wait.prepare()
                if (seconds := route.admission_wait(wait.wake)) <= 0:
                    return
                await self._router.clock.apause(wait, seconds)
        except BaseException as error:
            route.aborted(error)  # else tenacity would take it for an attempt that failed
            raise

    async def _retry_attempts(self, failed: Exception, route: Route, *call: Any) -> Any:
        """Have tenacity drive the attempts after the first, which is nearly always the only one."""
        first = [failed]

        async def attempt() -> Any:
            if first:
                raise first.pop()
            await self._wait_for_admission(route)
            return await self._attempt(route, *call)

        retrying = AsyncRetrying(
            retry=route.should_retry,
            wait=route.retry_wait,
            before_sleep=route.anotify,
            sleep=self._router.clock.async_sleep,
        )
        try:
            return await retrying(attempt)
        except BaseException as error:
            route.abandoned(error)
            raise

    async def _attempt(self, route: Route, cast_to: Any, stream: bool, stream_cls: Any) -> Any:
        try:
            check_open(self)
            options = route.begin_attempt()
            with self._time_limit(route):
                deferred = await self._deferred_response(route) if route.is_deferred else None
                answer = await self._send(route, deferred, cast_to, options, stream, stream_cls)
                read = parse_response(route, answer)
                if stream and isinstance(read, AsyncFlexStream):
                    await read.open(route)
                    route.stream_opened(read)
                    return answer
        except Exception as error:
            raised = route.failed(error)
            if raised is error:
                raise
            raise raised from error
        except BaseException as error:
            route.aborted(error)
            raise
        return response_or_failure(route, answer, read)

    async def _send(
        self,
        route: Route,
        deferred: Any,
        cast_to: Any,
        options: Any,
        stream: bool,
        stream_cls: Any,
    ) -> Any:
        try:
            if deferred is not None:
                return await self._parse_response(route, deferred, cast_to, stream, stream_cls)
            if not route.unstreamed:
                return await super().request(cast_to, options, stream=stream, stream_cls=stream_cls)
            raw: Any = await super().request(cast_to, options)
            warn_unverified(route)
            return await self._parse_response(route, raw.http_response, cast_to, stream, stream_cls)
        except json.JSONDecodeError as error:
            raise malformed_error(route, error) from error
        except RuntimeError:
            check_open(self)  # what openai 3 raises for a client closed at this very moment
            raise

    async def close(self) -> None:
        """As ``openai.AsyncOpenAI.close``; before, background responses that calls wait for are
        cancelled, or returned where they have finished."""
        if (pending := stop_waiters(self._client)) is not None:
            await await_stopped(pending)
        await super().close()

    async def _deferred_response(self, route: Route) -> Any:
        """The HTTP response for a call from the journal, a batch or the background."""
        wait = task_wait()
        while True:
            while (seconds := route.deferred_response.wait_for_duplicate()) > 0:
                await self._router.clock.async_sleep(seconds)
            if (journaled := route.journaled) is not None:
                return route.deferred_response.replay(journaled)
            if not route.is_batched:
                return await self._background_response(route)
            future = route.deferred_response.submit(self)
            try:
                wait.prepare()
                while (seconds := future.seconds_to_wait(wait)) > 0:
                    await self._router.clock.apause(wait, seconds)
                    wait.prepare()
            except BaseException:
                route.abandon_batch(future)
                raise
            if (response := route.deferred_response.batch_response(future)) is not None:
                return response

    async def _background_response(self, route: Route) -> Any:
        """The HTTP response for a call that is a background response, once that has ended."""
        from flextier.background.runner import adrive

        request = openai.AsyncOpenAI.request

        async def send(options: Any) -> Any:
            check_open(self)
            raw: Any = await request(self, object, options)
            return raw.http_response

        pending = waiters_of(self._client)
        lifecycle = route.background_lifecycle()
        polled = await adrive(lifecycle, pending, self._router.clock, send)
        return route.background_response(polled)

    async def _parse_response(
        self, route: Route, response: Any, cast_to: Any, stream: bool, stream_cls: Any
    ) -> Any:
        """The SDK's result for an HTTP response that it has not received itself."""
        if response.status_code >= 400:
            raise self._make_status_error_from_response(response)
        return await self._process_response(
            cast_to=cast_to,
            options=route.options if stream else route.read_options,
            response=single_chunk_response(route, response) if stream else response,
            stream=stream,
            stream_cls=stream_cls,
        )
