"""FlexOpenAI and AsyncFlexOpenAI: the SDK's clients, with model calls routed through the lanes.

Every call of the SDK passes through ``request()``. There, chat completions and responses are
routed, with tenacity driving the retries; all other calls pass unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import openai
from tenacity import AsyncRetrying, Retrying
from typing_extensions import Self, Unpack

from flextier._utils.wakeup import TaskWait, ThreadWait, task_wait
from flextier.background.waiters import await_stopped, stop_waiters, wait_stopped
from flextier.client.routed_request import RoutedRequests, result_of
from flextier.routing.call import Route
from flextier.transport.attempt_timeout import async_time_limit, time_limit
from flextier.transport.http_clients import async_http_client, enforces_time_limit, sync_http_client
from flextier.transport.streams import AsyncFlexStream, FlexStream

if TYPE_CHECKING:
    from flextier.client.arguments import (
        AsyncClientArguments,
        AsyncCopyArguments,
        ClientArguments,
        CopyArguments,
    )

_UNLIMITED = nullcontext()


class FlexOpenAI(RoutedRequests, openai.OpenAI):
    """``openai.OpenAI`` whose model calls take the cheapest lane that answers in time.

    Args:
        policy: the settings, or a dict of them; None: :class:`FlexPolicy` from the environment.
        timeout: as for ``openai.OpenAI``; bounds an attempt on flex and on standard, also where
            the policy sets a longer ``flex_timeout`` or ``standard_timeout``, and how long the call
            waits for flex (see ``FlexPolicy.patience``).
        max_retries: as for ``openai.OpenAI``; sets the policy's ``max_retries``.
        http_client: as for ``openai.OpenAI``. The default one keeps connections alive through
            minutes of silence, and ends attempts in time even when a body trickles in.
        clock: time, sleep and random numbers, for tests and rehearsals.
        **arguments: every other argument of ``openai.OpenAI``.

    Raises:
        PolicyError: a setting is wrong, or ``max_retries`` contradicts ``policy``.
        TypeError: there is no such argument, or the installed SDK does not have it yet.
    """

    def __init__(self, **arguments: Unpack[ClientArguments]) -> None:
        super().__init__(**arguments)

    def copy(self, **arguments: Unpack[CopyArguments]) -> Self:
        """A client with other options, as the SDK's ``copy``, plus ``policy``.

        Its arguments apply to the copy alone, and override those of this client without conflict.
        """
        return self._copied(**arguments)

    with_options = copy

    _default_http_client = staticmethod(sync_http_client)
    _stream_class = FlexStream
    _new_wait = ThreadWait

    @property
    def _ends_attempts_in_time(self) -> bool:
        """Whether attempts end in time without per-read timers: our own HTTP client ensures it."""
        return enforces_time_limit(self._client)

    def request(  # the SDK's overloads, in one signature
        self, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None
    ) -> Any:
        """Send every request of the SDK: model calls through the lanes, all others unchanged."""
        return result_of(super().request(cast_to, options, stream=stream, stream_cls=stream_cls))

    def close(self) -> None:
        """As ``openai.OpenAI.close``; before, background responses of waiting calls are cancelled,
        or returned where they have finished."""
        if (pending := stop_waiters(self._client)) is not None:
            wait_stopped(pending)
        super().close()

    # --- the steps of a request: each blocks, and so has its result when it is awaited ----------

    @staticmethod
    async def _ready(result: Any) -> Any:
        return result

    async def _sleep(self, seconds: float) -> None:
        self._router.clock.sleep(seconds)

    async def _pause(self, wait: ThreadWait, seconds: float) -> None:
        self._router.clock.pause(wait, seconds)

    @staticmethod
    def _time_limit(route: Route) -> AbstractContextManager[Any]:
        return time_limit(route.limit, route.stalls_in if route.may_stall else None)

    async def _run_attempts(self, route: Route, attempt: Callable[[], Any]) -> Any:
        retrying = Retrying(
            retry=route.should_retry,
            wait=route.retry_wait,
            before_sleep=route.notify,
            sleep=self._router.clock.sleep,
        )
        return retrying(lambda: result_of(attempt()))

    async def _drive_background(
        self, lifecycle: Any, pending: Any, send: Callable[[Any], Any]
    ) -> Any:
        from flextier.background.runner import drive

        return drive(lifecycle, pending, self._router.clock, lambda sent: result_of(send(sent)))


class AsyncFlexOpenAI(RoutedRequests, openai.AsyncOpenAI):
    """The async version of :class:`FlexOpenAI`, with the same arguments.

    It can be used under several event loops, one after another or at once.
    """

    def __init__(self, **arguments: Unpack[AsyncClientArguments]) -> None:
        super().__init__(**arguments)

    def copy(self, **arguments: Unpack[AsyncCopyArguments]) -> Self:
        """A client with other options, as the SDK's ``copy``, plus ``policy``.

        Its arguments apply to the copy alone, and override those of this client without conflict.
        """
        return self._copied(**arguments)

    with_options = copy

    _default_http_client = staticmethod(async_http_client)
    _ends_attempts_in_time = True
    _stream_class = AsyncFlexStream
    _new_wait = staticmethod(task_wait)

    async def close(self) -> None:
        """As ``openai.AsyncOpenAI.close``; before, background responses that calls wait for are
        cancelled, or returned where they have finished."""
        if (pending := stop_waiters(self._client)) is not None:
            await await_stopped(pending)
        await super().close()

    # --- the steps of a request ------------------------------------------------------------------

    @staticmethod
    def _ready(result: Awaitable[Any]) -> Awaitable[Any]:
        return result

    def _sleep(self, seconds: float) -> Awaitable[None]:
        return self._router.clock.async_sleep(seconds)

    def _pause(self, wait: TaskWait, seconds: float) -> Awaitable[None]:
        return self._router.clock.apause(wait, seconds)

    @staticmethod
    def _time_limit(route: Route) -> AbstractContextManager[Any]:
        if route.limit == math.inf:
            return _UNLIMITED
        stalls_in = route.stalls_in if route.may_stall else None
        return async_time_limit(route.limit, stalls_in, route.request)

    def _run_attempts(self, route: Route, attempt: Callable[[], Any]) -> Awaitable[Any]:
        retrying = AsyncRetrying(
            retry=route.should_retry,
            wait=route.retry_wait,
            before_sleep=route.anotify,
            sleep=self._router.clock.async_sleep,
        )
        return retrying(attempt)

    def _drive_background(
        self, lifecycle: Any, pending: Any, send: Callable[[Any], Any]
    ) -> Awaitable[Any]:
        from flextier.background.runner import adrive

        return adrive(lifecycle, pending, self._router.clock, send)
