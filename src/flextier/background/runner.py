"""Runs the lifecycle of a background response in a thread or a task."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import openai

from flextier._openai.compat import new_request
from flextier._utils.clock import Clock
from flextier._utils.wakeup import TaskWait, ThreadWait, running_loop, task_wait
from flextier.background.api import PolledResponse, RawRequest
from flextier.background.lifecycle import BackgroundLifecycle, Pause, Step, Steps
from flextier.background.waiters import ClientWaiters
from flextier.transport.attempt_timeout import time_limit

_LEAVING = 10.0
"""The most seconds of a request in a task that was cancelled."""


def drive(
    course: BackgroundLifecycle, pending: ClientWaiters, clock: Clock, ask: Callable[[Any], Any]
) -> PolledResponse:
    """The ended response; takes all steps in this thread.

    Args:
        course: the response's lifecycle.
        pending: the waiting calls of its client.
        clock: the call's.
        ask: makes a request with the SDK's options; its HTTP response.

    Raises:
        BaseException: what ended the lifecycle.
    """
    wait = ThreadWait()
    wait.prepare()
    steps = course.steps()

    def take(step: RawRequest | Pause) -> Any:
        if isinstance(step, RawRequest):
            with time_limit(step.seconds):
                return ask(step.options)
        wait.prepare()
        if step.deaf:
            clock.sleep(step.seconds)
        elif not course.stopping:
            clock.pause(wait, step.seconds)
        return None

    with pending.counting(course, wait.wake):
        try:
            step = next(steps)
            while True:
                try:
                    answer = take(step)
                except BaseException as error:  # noqa: BLE001, PERF203 - the lifecycle decides
                    step = steps.throw(error)
                else:
                    step, answer = steps.send(answer), None  # hours may pass: it is not kept
        except StopIteration as end:
            polled: PolledResponse = end.value
            return polled


async def adrive(
    course: BackgroundLifecycle,
    pending: ClientWaiters,
    clock: Clock,
    ask: Callable[[Any], Awaitable[Any]],
) -> PolledResponse:
    """The async form of :func:`drive`."""
    wait = task_wait()
    wait.prepare()
    steps = course.steps()
    leaving = False
    with pending.counting(course, wait.wake):
        try:
            step = next(steps)
            while True:
                try:
                    answer = await _taken(step, course, wait, clock, ask, leaving)
                except _Interrupted as interrupted:  # noqa: PERF203 - each step is a request
                    leaving = True
                    step = _notified(course, steps, interrupted)
                except BaseException as error:  # noqa: BLE001 - the lifecycle decides
                    leaving = leaving or not isinstance(error, Exception)
                    step = steps.throw(error)
                else:
                    step, answer = steps.send(answer), None  # hours may pass: it is not kept
        except StopIteration as end:
            polled: PolledResponse = end.value
            return polled


async def _taken(
    step: RawRequest | Pause,
    course: BackgroundLifecycle,
    wait: TaskWait,
    clock: Clock,
    ask: Callable[[Any], Awaitable[Any]],
    leaving: bool,
) -> Any:
    """The result of a step. In a cancelled task, the request is shielded."""
    if isinstance(step, RawRequest):
        if step.whole and not leaving:
            return await _unbroken(_in_time(ask(step.options), step.seconds))
        seconds = min(step.seconds, _LEAVING) if leaving else step.seconds
        return await _in_time(ask(step.options), seconds, shield=leaving)
    wait.prepare()
    with anyio.CancelScope(shield=leaving):
        if step.deaf:
            await clock.async_sleep(step.seconds)
        elif not course.stopping:
            await clock.apause(wait, step.seconds)
    return None


async def _in_time(request: Awaitable[Any], seconds: float, *, shield: bool = False) -> Any:
    """The response to a request within ``seconds``.

    Raises:
        openai.APITimeoutError: there was none in time.
    """
    with anyio.move_on_after(seconds, shield=shield):
        return await request
    raise openai.APITimeoutError(new_request("https://api.openai.com/v1/responses"))


class _Interrupted(Exception):
    """The task was cancelled during a request, which was completed first."""

    def __init__(self, by: BaseException, answer: Any) -> None:
        super().__init__()
        self.by = by
        self.answer = answer


def _notified(course: BackgroundLifecycle, steps: Steps, interrupted: _Interrupted) -> Step:
    """The step after a creation that succeeded although its task was cancelled."""
    try:
        steps.send(interrupted.answer)
    except StopIteration as end:  # the server has answered directly
        course.unwatched(end.value)
        raise interrupted.by from None
    except openai.APIError:
        raise interrupted.by from None
    return steps.throw(interrupted.by)


async def _unbroken(request: Awaitable[Any]) -> Any:
    """The response to a request that creates something: completes even if the task is cancelled.

    Raises:
        _Interrupted: the task was cancelled meanwhile; carries the response.
    """
    if running_loop() is None:  # trio: the next await raises the cancellation
        with anyio.CancelScope(shield=True):
            return await request
    task = asyncio.ensure_future(request)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError as cancelled:
        with anyio.move_on_after(_LEAVING, shield=True):
            await asyncio.wait({task})
        if task.done() and not task.cancelled() and task.exception() is None:
            raise _Interrupted(cancelled, task.result()) from None
        task.cancel()
        raise
