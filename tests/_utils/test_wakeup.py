"""Threads and tasks that wait to be woken, from whatever thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from flextier._utils.wakeup import AsyncioWait, ThreadWait, TrioWait, task_wait

LONG = 300.0
"""Seconds that no test waits for."""
SOON = 150.0
"""More than any machine takes."""


def later(wake: Callable[[], None], seconds: float = 0.02) -> threading.Thread:
    """Another thread that wakes."""
    thread = threading.Thread(target=lambda: (time.sleep(seconds), wake()))
    thread.start()
    return thread


def took(began: float) -> float:
    """Seconds since."""
    return time.monotonic() - began


# --- threads ----------------------------------------------------------------------------------


def test_a_thread_waits_its_time() -> None:
    """Nothing wakes it."""
    wait, began = ThreadWait(), time.monotonic()
    wait.prepare()
    wait.wait(0.03)
    assert 0.025 < took(began) < SOON


def test_a_thread_is_woken_by_another() -> None:
    """Long before its time."""
    wait, began = ThreadWait(), time.monotonic()
    wait.prepare()
    thread = later(wait.wake)
    wait.wait(LONG)
    assert took(began) < SOON
    thread.join()


def test_a_thread_that_was_woken_before_it_waits_does_not_wait() -> None:
    """News may come between the look and the wait."""
    wait, began = ThreadWait(), time.monotonic()
    wait.prepare()
    wait.wake()
    wait.wait(LONG)
    assert took(began) < SOON


def test_old_news_is_no_news_to_a_thread() -> None:
    """What woke it before it looked again counts no more."""
    wait, began = ThreadWait(), time.monotonic()
    wait.prepare()
    wait.wake()
    wait.prepare()
    wait.wait(0.03)
    assert took(began) > 0.025


def test_a_thread_can_wait_for_ever() -> None:
    """More than the platform's longest wait is not an error."""
    wait = ThreadWait()
    wait.prepare()
    wait.wake()
    wait.wait(float("inf"))


# --- asyncio ----------------------------------------------------------------------------------


def timers() -> int:
    """Timers of the running loop that have not been cancelled."""
    loop: Any = asyncio.get_running_loop()
    return sum(not timer.cancelled() for timer in loop._scheduled)


async def test_a_task_waits_its_time() -> None:
    """Nothing wakes it."""
    wait, began = task_wait(), time.monotonic()
    assert isinstance(wait, AsyncioWait)
    wait.prepare()
    await wait.wait(0.03)
    assert 0.025 < took(began) < SOON


async def test_a_task_is_woken_by_another_task() -> None:
    """On its own loop; nothing is left of the timer."""
    wait, began, before = task_wait(), time.monotonic(), timers()
    wait.prepare()
    asyncio.get_running_loop().call_soon(wait.wake)
    await wait.wait(LONG)
    assert took(began) < SOON
    assert timers() == before


async def test_a_task_is_woken_by_another_thread() -> None:
    """The loop sleeps in its selector then, and has to be woken."""
    wait, began = task_wait(), time.monotonic()
    wait.prepare()
    thread = later(wait.wake)
    await wait.wait(LONG)
    assert took(began) < SOON
    thread.join()


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_task_that_was_woken_before_it_waits_does_not_wait(elsewhere: bool) -> None:
    """From its own thread or from another one."""
    wait, began = task_wait(), time.monotonic()
    wait.prepare()
    if elsewhere:
        await asyncio.to_thread(wait.wake)
    else:
        wait.wake()
    await wait.wait(LONG)
    assert took(began) < SOON


async def test_old_news_is_no_news_to_a_task() -> None:
    """What woke it before it looked again counts no more."""
    wait = task_wait()
    wait.prepare()
    wait.wake()
    wait.prepare()
    began = time.monotonic()
    await wait.wait(0.03)
    assert took(began) > 0.025


async def test_a_task_may_be_woken_twice_and_too_late() -> None:
    """A wake after the wait has ended is no error."""
    wait = task_wait()
    wait.prepare()
    wait.wake()
    wait.wake()
    await wait.wait(LONG)
    await asyncio.to_thread(wait.wake)
    await asyncio.sleep(0)


async def test_a_cancelled_task_leaves_no_timer() -> None:
    """A wake afterwards raises nothing."""
    wait, before = task_wait(), timers()
    wait.prepare()
    task = asyncio.ensure_future(wait.wait(LONG))
    await asyncio.sleep(0)
    assert timers() == before + 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert timers() == before
    wait.wake()
    await asyncio.to_thread(wait.wake)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_loop_that_was_closed_says_so(elsewhere: bool) -> None:
    """So that the limiter takes back what it gave to the call that waited there."""
    loop = asyncio.new_event_loop()
    wait = AsyncioWait(loop)
    wait.prepare()
    wait._future.add_done_callback(lambda _: None)  # as a task that waits has one
    loop.close()
    failed: list[BaseException] = []
    if elsewhere:
        thread = threading.Thread(target=lambda: _noted(wait.wake, failed))
        thread.start()
        thread.join()
    else:
        _noted(wait.wake, failed)
    assert [type(error) for error in failed] == [RuntimeError]


def _noted(wake: Callable[[], None], failed: list[BaseException]) -> None:
    try:
        wake()
    except BaseException as error:  # noqa: BLE001 - a thread's error is seen nowhere else
        failed.append(error)


def test_tasks_of_two_loops_wake_each_other() -> None:
    """Each in its own thread."""
    waits: list[Any] = []
    ready = threading.Barrier(2)

    async def run(me: int) -> float:
        wait = task_wait()
        wait.prepare()
        waits.append(wait)
        await asyncio.to_thread(ready.wait)
        began = time.monotonic()
        if me:
            next(one for one in waits if one is not wait).wake()
        else:
            await wait.wait(LONG)
        return took(began)

    results: list[float] = []
    threads = [
        threading.Thread(target=lambda me=me: results.append(asyncio.run(run(me)))) for me in (0, 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(results) < SOON


# --- trio -------------------------------------------------------------------------------------


def test_a_trio_task_waits_and_is_woken() -> None:
    """By time, by another task, by another thread, before it waits; cancelled like any other."""
    trio = pytest.importorskip("trio")

    async def run() -> None:
        wait = task_wait()
        assert isinstance(wait, TrioWait)
        wait.prepare()
        began = time.monotonic()
        await wait.wait(0.03)
        assert 0.025 < took(began) < SOON

        wait.prepare()
        wait.wake()
        await wait.wait(LONG)

        wait.prepare()
        thread = later(wait.wake)
        await wait.wait(LONG)
        thread.join()
        assert took(began) < SOON

        wait.prepare()
        with trio.move_on_after(0.02) as scope:
            await wait.wait(LONG)
        assert scope.cancelled_caught

    trio.run(run)


def test_a_trio_run_that_has_finished_says_so() -> None:
    """So that the limiter takes back what it gave to the call that waited there."""
    trio = pytest.importorskip("trio")

    async def run() -> Any:
        wait = task_wait()
        wait.prepare()
        return wait

    with pytest.raises(RuntimeError):
        trio.run(run).wake()
