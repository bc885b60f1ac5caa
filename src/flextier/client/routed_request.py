"""How a model call is sent: admission, attempts and retries, written once for both clients.

The code is async. The async client awaits it; in the sync client every step blocks instead of
waiting, so the coroutine never suspends and :func:`result_of` runs it to its end at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from flextier._openai.compat import BaseAPIResponse
from flextier._openai.request_options import is_routed
from flextier.background.waiters import waiters_of
from flextier.client.base import RoutedClient
from flextier.client.response_parsing import (
    flex_stream_class,
    parse_response,
    response_or_failure,
    single_chunk_response,
    warn_unverified,
)
from flextier.client.router import check_open
from flextier.routing.call import Route

_T = TypeVar("_T")


def result_of(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """The result of a coroutine that never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: _T = end.value
        return result
    raise RuntimeError("a step of the sync client waited instead of blocking")


class RoutedRequests(RoutedClient):
    """``request()`` of both clients; a mixin before the SDK's class.

    The members below differ between the clients. Steps that wait return what ``await`` takes.
    """

    _stream_class: Any
    """The class of routed streams."""
    _new_wait: Callable[[], Any]
    """Makes a wait that another thread or task can end."""
    _ready: Callable[[Any], Awaitable[Any]]
    """Makes a result of the SDK awaitable; those of the async SDK are."""
    _sleep: Callable[[float], Awaitable[Any]]
    _pause: Callable[[Any, float], Awaitable[Any]]
    """Waits until the wait is ended, or for as many seconds."""
    _time_limit: Callable[[Route], AbstractContextManager[Any]]
    """Ends the attempt inside when its time is up."""
    _run_attempts: Callable[[Route, Callable[[], Any]], Awaitable[Any]]
    """Has tenacity call an attempt until it returns a response, or no further one follows."""
    _drive_background: Callable[[Any, Any, Callable[[Any], Any]], Awaitable[Any]]
    """Sends a background response's requests, and polls it until it has ended."""

    async def request(  # the SDK's overloads, in one signature
        self, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None
    ) -> Any:
        """Send every request of the SDK: model calls through the lanes, all others unchanged."""
        if not is_routed(options):
            sdk: Any = super()
            return await self._ready(
                sdk.request(cast_to, options, stream=stream, stream_cls=stream_cls)
            )
        route = self._router.route(self, options)
        if stream:
            stream_cls = flex_stream_class(stream_cls, self._stream_class)
        try:
            if (wait := route.retry_wait()) > 0:
                await self._sleep(wait)
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
        return await self._retry(failed, route, cast_to, stream, stream_cls)

    async def _wait_for_admission(self, route: Route) -> None:
        """Wait until the lane admits the next attempt, or the call falls back to another lane."""
        if route.admit():
            return
        wait = self._new_wait()
        try:
            while True:
                wait.prepare()
                if (seconds := route.admission_wait(wait.wake)) <= 0:
                    return
                await self._pause(wait, seconds)
        except BaseException as error:
            route.aborted(error)  # else tenacity would take it for an attempt that failed
            raise

    async def _retry(self, failed: Exception, route: Route, *call: Any) -> Any:
        """Have tenacity drive the attempts after the first, which is nearly always the only one."""
        first = [failed]

        async def attempt() -> Any:
            if first:
                raise first.pop()
            await self._wait_for_admission(route)
            return await self._attempt(route, *call)

        try:
            return await self._run_attempts(route, attempt)
        except BaseException as error:
            route.abandoned(error)
            raise

    async def _attempt(self, route: Route, cast_to: Any, stream: bool, stream_cls: Any) -> Any:
        try:
            check_open(self)
            options = route.begin_attempt()
            with self._time_limit(route):
                deferred = await self._deferred_response(route) if route.is_deferred else None
                response = await self._send(route, deferred, cast_to, options, stream, stream_cls)
                unread = stream and isinstance(response, BaseAPIResponse)
                if unread:  # of with_streaming_response: its parse() returns the same stream again
                    parsed = await self._ready(response.parse())
                else:
                    parsed = parse_response(response)
                if stream and isinstance(parsed, self._stream_class):
                    await self._ready(parsed.open(route, readable_as_bytes=unread))
                    route.stream_opened(parsed)
                    return response
        except Exception as error:
            raised = route.failed(error)
            if raised is error:
                raise
            raise raised from error
        except BaseException as error:
            route.aborted(error)
            raise
        return response_or_failure(route, response, parsed)

    async def _send(
        self,
        route: Route,
        deferred: Any,
        cast_to: Any,
        options: Any,
        stream: bool,
        stream_cls: Any,
    ) -> Any:
        sdk: Any = super()
        try:
            if deferred is not None:
                return await self._parse_response(route, deferred, cast_to, stream, stream_cls)
            if not route.unstreamed:
                return await self._ready(
                    sdk.request(cast_to, options, stream=stream, stream_cls=stream_cls)
                )
            raw = await self._ready(sdk.request(cast_to, options))
            warn_unverified(route)
            return await self._parse_response(route, raw.http_response, cast_to, stream, stream_cls)
        except RuntimeError:
            check_open(self)  # what openai 3 raises for a client closed at this very moment
            raise

    async def _deferred_response(self, route: Route) -> Any:
        """The HTTP response for a call from the journal, a batch or the background."""
        wait = self._new_wait()
        while True:
            while (seconds := route.deferred_response.wait_for_duplicate()) > 0:
                await self._sleep(seconds)
            if (journaled := route.journaled) is not None:
                return route.deferred_response.replay(journaled)
            if not route.is_batched:
                return await self._background_response(route)
            future = route.deferred_response.submit(self)
            try:
                wait.prepare()
                while (seconds := future.seconds_to_wait(wait)) > 0:
                    await self._pause(wait, seconds)
                    wait.prepare()
            except BaseException:
                route.abandon_batch(future)
                raise
            if (response := route.deferred_response.batch_response(future)) is not None:
                return response

    async def _background_response(self, route: Route) -> Any:
        """The HTTP response for a call that is a background response, once that has ended."""
        client: Any = self
        sdk: Any = super()

        async def send(options: Any) -> Any:
            check_open(self)
            raw = await self._ready(sdk.request(object, options))
            return raw.http_response

        pending = waiters_of(client._client)
        polled = await self._drive_background(route.background_lifecycle(), pending, send)
        return route.background_response(polled)

    async def _parse_response(
        self, route: Route, response: Any, cast_to: Any, stream: bool, stream_cls: Any
    ) -> Any:
        """The SDK's result for an HTTP response that it has not received itself."""
        client: Any = self
        if response.status_code >= 400:
            raise client._make_status_error_from_response(response)
        return await self._ready(
            client._process_response(
                cast_to=cast_to,
                options=route.options if stream else route.read_options,
                response=single_chunk_response(route, response) if stream else response,
                stream=stream,
                stream_cls=stream_cls,
            )
        )
