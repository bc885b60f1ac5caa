"""The attempts of a call, written once as a generator of steps, and who takes them: a thread or a
task."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from flextier._utils.clock import Clock
from flextier._utils.interrupt import INTERRUPT
from flextier._utils.safe_warn import callers_level
from flextier.calls.context import RetryListener
from flextier.calls.report import Retry
from flextier.routing.call import CallState
from flextier.routing.executors import deferred_executor
from flextier.routing.reporting import retry_of
from flextier.routing.steps import Background, Notify, Pause, Request, Served, Step, Steps


def attempts(state: CallState, new_wait: Callable[[], Any]) -> Steps[Any]:
    """The steps of a call, until it has its response or no further attempt follows.

    ``new_wait`` makes a wait that another thread or task can end.
    """
    try:
        wait = state.next_wait()
        while True:
            if wait > 0:
                yield Pause(wait)
            if not state.admit():
                queue = new_wait()
                queue.prepare()
                while (seconds := state.admission_wait(queue.wake)) > 0:
                    yield Pause(seconds, queue)
                    queue.prepare()
            if (served := (yield from _attempt(state, new_wait))) is not None:
                return served.value
            wait = state.next_wait()
    except BaseException as error:
        state.abandoned(error)
        raise


def _attempt(state: CallState, new_wait: Callable[[], Any]) -> Steps[Served | None]:
    """One attempt; None: it has failed, and a further one follows."""
    try:
        state.transport.check_open()
        state.begin_attempt()
        execute = state.transport.attempt if state.is_direct else deferred_executor(state)
        served = yield from execute(state, new_wait)
        if served.stream is not None:  # the call ends with it
            state.stream_opened(served.stream)
            return served
    except Exception as error:  # noqa: BLE001 - the state decides; it is raised below
        failed = state.failed(error)
        if not state.goes_on:
            try:
                if failed is error:
                    raise
                raise failed from error
            finally:
                del failed  # its traceback refers to this frame
    except BaseException as error:
        state.aborted(error)
        raise
    else:
        if state.served(served):
            return served
        failed = state.reported_error(served)
    if state.is_retry and state.setting.scope.retries:
        yield from notify(state.setting.scope.retries, retry_of(state, failed))
    del failed  # as above: what the attempt held is not left to the garbage collector
    return None


def notify(listeners: Iterable[RetryListener], retry: Retry) -> Steps[None]:
    """Notify the listeners of a retry, async ones included."""
    for listener in listeners:
        if inspect.isawaitable(awaitable := listener(retry)):
            yield Notify(listener, awaitable)


def drive(steps: Steps[Any], clock: Clock) -> Any:
    """What the steps return, all of them taken in this thread.

    Raises:
        KeyboardInterrupt: the calls of this context are to end.
    """
    interrupt = INTERRUPT.get()
    try:
        step = next(steps)
        while True:
            try:
                if interrupt.is_set:
                    interrupt.raise_if_set()
                result = step.send() if type(step) is Request else _take(step, clock)
            except BaseException as error:  # noqa: BLE001, PERF203 - the steps decide
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as end:
        return end.value


def _take(step: Step, clock: Clock) -> Any:
    match step:
        case Pause(seconds, wait):
            clock.pause(wait, seconds)
        case Background(lifecycle, waiters, send):
            from flextier.background.runner import drive as drive_background

            return drive_background(lifecycle, waiters, clock, lambda x: send(x).http_response)
        case Notify(listener, awaitable):
            if (close := getattr(awaitable, "close", None)) is not None:
                close()
            warnings.warn(
                f"callback {listener!r} is async; it cannot be notified by a sync call",
                RuntimeWarning,
                stacklevel=callers_level(),
            )
    return None


async def adrive(steps: Steps[Any], clock: Clock) -> Any:
    """The async form of :func:`drive`."""
    try:
        step = next(steps)
        while True:
            try:
                result = None
                if type(step) is Request:
                    result = await step.send()
                elif type(step) is not Pause:
                    result = await _atake(step, clock)
                elif step.wait is None:
                    await clock.async_sleep(step.seconds)
                else:
                    await clock.apause(step.wait, step.seconds)
            except BaseException as error:  # noqa: BLE001, PERF203 - the steps decide
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as end:
        return end.value


async def _atake(step: Step, clock: Clock) -> Any:
    if isinstance(step, Notify):
        return await step.awaitable
    assert isinstance(step, Background)
    from flextier.background.runner import adrive as adrive_background

    async def send(options: Any) -> Any:
        raw = await step.send(options)
        return raw.http_response

    return await adrive_background(step.lifecycle, step.waiters, clock, send)
