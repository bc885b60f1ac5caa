"""Runs the lifecycle of a background response in a thread or a task."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import anyio

from flextier._openai import public_names as openai
from flextier._openai.http_library import new_request
from flextier._utils.clock import Clock
from flextier._utils.wakeup import TaskWait, ThreadWait, running_loop, task_wait
from flextier.background.api import PolledResponse, RawRequest
from flextier.background.lifecycle import BackgroundLifecycle, Step, Steps
from flextier.background.waiters import ClientWaiters
from flextier.transport.attempt_limits import time_limit

_CANCELLED_TIMEOUT = 10.0
"""The most seconds that a request of a cancelled task may take."""


def drive(
    lifecycle: BackgroundLifecycle, waiters: ClientWaiters, clock: Clock, send: Callable[[Any], Any]
) -> PolledResponse:
    """The ended response, after all steps of its lifecycle, taken in this thread.

    ``send`` makes a request with the SDK's options; it returns its HTTP response.
    """
    wait = ThreadWait()

    async def take(step: Step, cancelled: bool) -> Any:
        if isinstance(step, RawRequest):
            with time_limit(step.seconds):
                return send(step.options)
        wait.prepare()
        if step.uninterruptible:
            clock.sleep(step.seconds)
        elif not lifecycle.stopping:
            clock.pause(wait, step.seconds)
        return None

    try:
        # It awaits nothing that suspends it, so that it runs to its end without an event loop.
        _run(lifecycle, waiters, wait, take).send(None)
    except StopIteration as end:
        polled: PolledResponse = end.value
        return polled
    raise AssertionError("a sync call was suspended")


async def adrive(
    lifecycle: BackgroundLifecycle,
    waiters: ClientWaiters,
    clock: Clock,
    send: Callable[[Any], Awaitable[Any]],
) -> PolledResponse:
    """The async form of :func:`drive`."""
    wait = task_wait()

    async def take(step: Step, cancelled: bool) -> Any:
        """The result of a step. In a cancelled task, the request is shielded."""
        if isinstance(step, RawRequest):
            if step.shielded and not cancelled:
                return await _complete(_with_timeout(send(step.options), step.seconds))
            seconds = min(step.seconds, _CANCELLED_TIMEOUT) if cancelled else step.seconds
            return await _with_timeout(send(step.options), seconds, shield=cancelled)
        wait.prepare()
        with anyio.CancelScope(shield=cancelled):
            if step.uninterruptible:
                await clock.async_sleep(step.seconds)
            elif not lifecycle.stopping:
                await clock.apause(wait, step.seconds)
        return None

    return await _run(lifecycle, waiters, wait, take)


async def _run(
    lifecycle: BackgroundLifecycle,
    waiters: ClientWaiters,
    wait: ThreadWait | TaskWait,
    take: Callable[[Step, bool], Coroutine[Any, Any, Any]],
) -> PolledResponse:
    wait.prepare()
    steps = lifecycle.steps()
    cancelled = False
    with waiters.registered(lifecycle, wait.wake):
        try:
            step = next(steps)
            while True:
                try:
                    answer = await take(step, cancelled)
                except _Interrupted as interrupted:  # noqa: PERF203 - each step is a request
                    cancelled = True
                    step = _interrupt(lifecycle, steps, interrupted)
                except BaseException as error:  # noqa: BLE001 - the lifecycle decides
                    cancelled = cancelled or not isinstance(error, Exception)
                    step = steps.throw(error)
                else:
                    step, answer = steps.send(answer), None  # not kept in memory for hours
        except StopIteration as end:
            polled: PolledResponse = end.value
            return polled


async def _with_timeout(request: Awaitable[Any], seconds: float, *, shield: bool = False) -> Any:
    """The response to a request; an ``APITimeoutError`` if none comes within ``seconds``."""
    with anyio.move_on_after(seconds, shield=shield):
        return await request
    raise openai.APITimeoutError(new_request("https://api.openai.com/v1/responses"))


@dataclass
class _Interrupted(Exception):
    """The task was cancelled during a request, which was completed first."""

    cancellation: BaseException
    answer: Any


def _interrupt(lifecycle: BackgroundLifecycle, steps: Steps, interrupted: _Interrupted) -> Step:
    """The step after a creation that succeeded although its task was cancelled."""
    try:
        steps.send(interrupted.answer)
    except StopIteration as end:  # the response had ended when it was created
        lifecycle.report_finished(end.value)
        raise interrupted.cancellation from None
    except openai.APIError:
        raise interrupted.cancellation from None
    return steps.throw(interrupted.cancellation)


async def _complete(request: Awaitable[Any]) -> Any:
    """The response to a request that completes even if the task is cancelled meanwhile.

    Then it is in the :class:`_Interrupted` that is raised.
    """
    if running_loop() is None:  # trio: the next await raises the cancellation
        with anyio.CancelScope(shield=True):
            return await request
    task = asyncio.ensure_future(request)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError as cancelled:
        with anyio.move_on_after(_CANCELLED_TIMEOUT, shield=True):
            await asyncio.wait({task})
        if task.done() and not task.cancelled() and task.exception() is None:
            raise _Interrupted(cancelled, task.result()) from None
        task.cancel()
        raise
