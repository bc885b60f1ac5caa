"""How a call waits: woken on the real clock, slept through on one of a test's own."""

from __future__ import annotations

import time

import anyio

from flextier import Clock
from flextier._utils.clock import SYSTEM_CLOCK
from flextier._utils.wakeup import ThreadWait, task_wait


def test_on_the_real_clock_a_thread_is_woken() -> None:
    """It does not sleep for the whole time."""
    wait, began = ThreadWait(), time.monotonic()
    wait.prepare()
    wait.wake()
    SYSTEM_CLOCK.pause(wait, 300)
    assert time.monotonic() - began < 150


async def test_on_the_real_clock_a_task_is_woken() -> None:
    """Nor does a task."""
    wait, began = task_wait(), time.monotonic()
    wait.prepare()
    wait.wake()
    await SYSTEM_CLOCK.apause(wait, 300)
    assert time.monotonic() - began < 150


def test_a_sleep_of_ones_own_is_slept_through() -> None:
    """A test's time goes forward by exactly what was to be waited, news or not."""
    slept: list[float] = []
    wait = ThreadWait()
    wait.prepare()
    wait.wake()
    Clock(sleep=slept.append).pause(wait, 30)
    assert slept == [30]


async def test_an_async_sleep_of_ones_own_is_slept_through() -> None:
    """The same for tasks; the sync sleep has no say in it."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    wait = task_wait()
    wait.prepare()
    wait.wake()
    await Clock(async_sleep=sleep).apause(wait, 30)
    assert slept == [30]
    began = time.monotonic()
    await Clock(sleep=slept.append).apause(wait, 300)
    assert slept == [30]
    assert time.monotonic() - began < 150


def test_the_real_clock_is_the_default() -> None:
    """A clock with only ``now`` replaced is woken all the same."""
    assert Clock() == SYSTEM_CLOCK
    assert SYSTEM_CLOCK.async_sleep is anyio.sleep
    assert SYSTEM_CLOCK.sleep is time.sleep
