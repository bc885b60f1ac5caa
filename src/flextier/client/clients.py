"""FlexOpenAI and AsyncFlexOpenAI: the SDK's clients, with model calls sent down the ladder.

Every call of the SDK passes through ``request()``. There, chat completions and responses are
routed; tenacity drives the attempts; everything else passes untouched.
"""

from __future__ import annotations

import asyncio
import json
import math
from contextlib import nullcontext
from typing import Any

import anyio
import openai
from tenacity import AsyncRetrying, Retrying

from flextier._openai.request_options import is_routed
from flextier._utils.wakeup import ThreadWait, running_loop, task_wait
from flextier.background.waiters import aawait_left, await_left, left, pending_of
from flextier.client.base import Routed
from flextier.client.response_parsing import (
    one_chunk,
    parsed,
    settled,
    unreadable,
    warn_unverified,
    watched,
)
from flextier.client.router import check_open
from flextier.routing.call import Route
from flextier.transport.attempt_timeout import time_limit
from flextier.transport.http_clients import async_http_client, enforces_time_limit, sync_http_client
from flextier.transport.streams import AsyncFlexStream, FlexStream


class FlexOpenAI(Routed, openai.OpenAI):
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

    _default_http_client = staticmethod(sync_http_client)

    @property
    def _watches_attempts(self) -> bool:
        """Whether attempts end in time by themselves: our own HTTP client sees to that."""
        return enforces_time_limit(self._client)

    def request(  # the SDK's overloads, in one signature
        self, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None
    ) -> Any:
        """The SDK's one way out. Routed calls go down the ladder; the rest passes untouched."""
        if not is_routed(options):
            return super().request(cast_to, options, stream=stream, stream_cls=stream_cls)
        route = self._router.route(self, options)
        clock = self._router.clock
        if stream:
            stream_cls = watched(stream_cls, FlexStream)
        try:
            if (wait := route.wait()) > 0:
                clock.sleep(wait)
            self._line_up(route)
            return self._attempt(route, cast_to, stream, stream_cls)
        except Exception as error:
            if not route.goes_on:
                route.abandoned(error)
                raise
            failed = error
        except BaseException as error:
            route.abandoned(error)
            raise
        return self._try_on(failed, route, cast_to, stream, stream_cls)

    def _line_up(self, route: Route) -> None:
        """Wait until the lane lets the next attempt in, or the call goes to another lane."""
        if route.may_go():
            return
        wait = ThreadWait()
        try:
            while True:
                wait.prepare()
                if (seconds := route.look(wait.wake)) <= 0:
                    return
                self._router.clock.pause(wait, seconds)
        except BaseException as error:
            route.broken(error)  # else tenacity would take it for an attempt that failed
            raise

    def _try_on(self, failed: Exception, route: Route, *call: Any) -> Any:
        """After the first attempt, which nearly always is the only one, tenacity takes over."""
        first = [failed]

        def attempt() -> Any:
            if first:
                raise first.pop()
            self._line_up(route)
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
            check_open(self)
            options = route.begin()
            with time_limit(route.limit, route.stalls_in if route.may_stall else None):
                response = self._fetch(route) if route.offline else None
                answer = self._send(route, response, cast_to, options, stream, stream_cls)
                read = parsed(route, answer)
                if stream and isinstance(read, FlexStream):
                    read.open(route)
                    route.opened(read)
                    return answer
        except Exception as error:
            raised = route.failed(error)
            if raised is error:
                raise
            raise raised from error
        except BaseException as error:
            route.broken(error)
            raise
        return settled(route, answer, read)

    def _send(
        self,
        route: Route,
        fetched: Any,
        cast_to: Any,
        options: Any,
        stream: bool,
        stream_cls: Any,
    ) -> Any:
        try:
            if fetched is not None:
                return self._read(route, fetched, cast_to, stream, stream_cls)
            if not route.plain:
                return super().request(cast_to, options, stream=stream, stream_cls=stream_cls)
            raw: Any = super().request(cast_to, options)
            warn_unverified(route)
            return self._read(route, raw.http_response, cast_to, stream, stream_cls)
        except json.JSONDecodeError as error:
            raise unreadable(route, error) from error
        except RuntimeError:
            check_open(self)  # what openai 3 raises for a client closed at this very moment
            raise

    def close(self) -> None:
        """As ``openai.OpenAI.close``; responses in the background that calls wait for are cancelled
        first, or handed over, where they have finished."""
        if (pending := left(self._client)) is not None:
            await_left(pending)
        super().close()

    def _fetch(self, route: Route) -> Any:
        """The HTTP response for a call that is not answered on a connection of its own."""
        wait = ThreadWait()
        while True:
            while (seconds := route.fetching.waits()) > 0:
                self._router.clock.sleep(seconds)
            if (said := route.remembered) is not None:
                return route.fetching.replay(said)
            if not route.pooled:
                return self._follow(route)
            ticket = route.fetching.pooled(self)
            try:
                wait.prepare()
                while (seconds := ticket.look(wait)) > 0:
                    self._router.clock.pause(wait, seconds)
                    wait.prepare()
            except BaseException:
                route.left(ticket)
                raise
            if (response := route.fetching.fetched(ticket)) is not None:
                return response

    def _follow(self, route: Route) -> Any:
        """The HTTP response for a call that is a background response, once it has ended."""
        from flextier.background.runner import drive

        ask = openai.OpenAI.request

        def asked(options: Any) -> Any:
            check_open(self)
            raw: Any = ask(self, object, options)
            return raw.http_response

        pending = pending_of(self._client)
        return route.had(drive(route.course(), pending, self._router.clock, asked))

    def _read(
        self, route: Route, response: Any, cast_to: Any, stream: bool, stream_cls: Any
    ) -> Any:
        """What the SDK makes of an HTTP response that did not come on a connection of its own."""
        if response.status_code >= 400:
            raise self._make_status_error_from_response(response)
        return self._process_response(
            cast_to=cast_to,
            options=route.options if stream else route.reading,
            response=one_chunk(route, response) if stream else response,
            stream=stream,
            stream_cls=stream_cls,
        )


class AsyncFlexOpenAI(Routed, openai.AsyncOpenAI):
    """The async twin of :class:`FlexOpenAI`, with the same arguments.

    It may be used under several event loops, one after another or at once.
    """

    _default_http_client = staticmethod(async_http_client)
    _watches_attempts = True

    async def request(  # the SDK's overloads, in one signature
        self, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None
    ) -> Any:
        """The SDK's one way out. Routed calls go down the ladder; the rest passes untouched."""
        if not is_routed(options):
            return await super().request(cast_to, options, stream=stream, stream_cls=stream_cls)
        route = self._router.route(self, options)
        clock = self._router.clock
        if stream:
            stream_cls = watched(stream_cls, AsyncFlexStream)
        try:
            if (wait := route.wait()) > 0:
                await clock.async_sleep(wait)
            await self._line_up(route)
            return await self._attempt(route, cast_to, stream, stream_cls)
        except Exception as error:
            if not route.goes_on:
                route.abandoned(error)
                raise
            failed = error
        except BaseException as error:
            route.abandoned(error)
            raise
        return await self._try_on(failed, route, cast_to, stream, stream_cls)

    async def _line_up(self, route: Route) -> None:
        """Wait until the lane lets the next attempt in, or the call goes to another lane."""
        if route.may_go():
            return
        wait = task_wait()
        try:
            while True:
                wait.prepare()
                if (seconds := route.look(wait.wake)) <= 0:
                    return
                await self._router.clock.apause(wait, seconds)
        except BaseException as error:
            route.broken(error)  # else tenacity would take it for an attempt that failed
            raise

    async def _try_on(self, failed: Exception, route: Route, *call: Any) -> Any:
        """After the first attempt, which nearly always is the only one, tenacity takes over."""
        first = [failed]

        async def attempt() -> Any:
            if first:
                raise first.pop()
            await self._line_up(route)
            return await self._attempt(route, *call)

        retrying = AsyncRetrying(
            retry=route.again,
            wait=route.wait,
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
            options = route.begin()
            with _TimeLimit(route) if route.limit < math.inf else _UNLIMITED:
                response = await self._fetch(route) if route.offline else None
                answer = await self._send(route, response, cast_to, options, stream, stream_cls)
                read = parsed(route, answer)
                if stream and isinstance(read, AsyncFlexStream):
                    await read.open(route)
                    route.opened(read)
                    return answer
        except Exception as error:
            raised = route.failed(error)
            if raised is error:
                raise
            raise raised from error
        except BaseException as error:
            route.broken(error)
            raise
        return settled(route, answer, read)

    async def _send(
        self,
        route: Route,
        fetched: Any,
        cast_to: Any,
        options: Any,
        stream: bool,
        stream_cls: Any,
    ) -> Any:
        try:
            if fetched is not None:
                return await self._read(route, fetched, cast_to, stream, stream_cls)
            if not route.plain:
                return await super().request(cast_to, options, stream=stream, stream_cls=stream_cls)
            raw: Any = await super().request(cast_to, options)
            warn_unverified(route)
            return await self._read(route, raw.http_response, cast_to, stream, stream_cls)
        except json.JSONDecodeError as error:
            raise unreadable(route, error) from error
        except RuntimeError:
            check_open(self)  # what openai 3 raises for a client closed at this very moment
            raise

    async def close(self) -> None:
        """As ``openai.AsyncOpenAI.close``; responses in the background that calls wait for are
        cancelled first, or handed over, where they have finished."""
        if (pending := left(self._client)) is not None:
            await aawait_left(pending)
        await super().close()

    async def _fetch(self, route: Route) -> Any:
        """The HTTP response for a call that is not answered on a connection of its own."""
        wait = task_wait()
        while True:
            while (seconds := route.fetching.waits()) > 0:
                await self._router.clock.async_sleep(seconds)
            if (said := route.remembered) is not None:
                return route.fetching.replay(said)
            if not route.pooled:
                return await self._follow(route)
            ticket = route.fetching.pooled(self)
            try:
                wait.prepare()
                while (seconds := ticket.look(wait)) > 0:
                    await self._router.clock.apause(wait, seconds)
                    wait.prepare()
            except BaseException:
                route.left(ticket)
                raise
            if (response := route.fetching.fetched(ticket)) is not None:
                return response

    async def _follow(self, route: Route) -> Any:
        """The HTTP response for a call that is a background response, once it has ended."""
        from flextier.background.runner import adrive

        ask = openai.AsyncOpenAI.request

        async def asked(options: Any) -> Any:
            check_open(self)
            raw: Any = await ask(self, object, options)
            return raw.http_response

        pending = pending_of(self._client)
        return route.had(await adrive(route.course(), pending, self._router.clock, asked))

    async def _read(
        self, route: Route, response: Any, cast_to: Any, stream: bool, stream_cls: Any
    ) -> Any:
        """What the SDK makes of an HTTP response that did not come on a connection of its own."""
        if response.status_code >= 400:
            raise self._make_status_error_from_response(response)
        return await self._process_response(
            cast_to=cast_to,
            options=route.options if stream else route.reading,
            response=one_chunk(route, response) if stream else response,
            stream=stream,
            stream_cls=stream_cls,
        )


_UNLIMITED = nullcontext()


class _TimeLimit:
    """End an async attempt within its limit, or when it has stalled, whatever it is waiting for."""

    __slots__ = ("_look", "_route", "_scope")

    def __init__(self, route: Route) -> None:
        self._route = route

    def __enter__(self) -> None:
        self._look: asyncio.TimerHandle | None = None
        self._scope = anyio.move_on_after(self._route.limit)
        self._scope.__enter__()
        if self._route.may_stall:
            self._look_again(self._route.stalls_in())

    def _look_again(self, seconds: float) -> None:
        # trio has no such timer: there, attempts that stall last to the end of their limit.
        if seconds < math.inf and (loop := running_loop()) is not None:
            self._look = loop.call_later(seconds, self._look_at_it)

    def _look_at_it(self) -> None:
        seconds = self._route.stalls_in()
        if seconds > 0:
            self._look_again(seconds)
        else:
            self._scope.cancel()

    def __exit__(self, *exception: Any) -> bool | None:
        if self._look is not None:
            self._look.cancel()
        swallowed = self._scope.__exit__(*exception)
        if self._scope.cancelled_caught:
            raise openai.APITimeoutError(request=self._route.request())
        return swallowed
