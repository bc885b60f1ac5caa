"""Virtual time: the order of a real loop, at no time at all, and an end where that would hang."""

from __future__ import annotations

import asyncio
import threading
import time

import anyio
import pytest

from flextier import track
from flextier.calls.context import current_scope
from flextier.rehearsal.virtual_loop import VirtualDeadlockError, run_virtually


def test_time_jumps_to_the_next_timer() -> None:
    """A day of sleeping takes no time, and the loop's clock says a day."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.sleep(86_400.5)
        await anyio.sleep(1)
        return loop.time() - began

    assert run_virtually(main) == 86_401.5


def test_timers_fire_in_the_order_of_their_times() -> None:
    """Whatever order they are set in, and at equal times in the order in which they were set."""

    async def main() -> list[tuple[float, str]]:
        loop = asyncio.get_running_loop()
        seen: list[tuple[float, str]] = []

        async def note(seconds: float, name: str) -> None:
            await asyncio.sleep(seconds)
            seen.append((loop.time(), name))

        await asyncio.gather(
            note(3, "c"), note(1, "a"), note(2, "b"), note(1, "a too"), note(0, "0")
        )
        return seen

    assert run_virtually(main) == [(0, "0"), (1, "a"), (1, "a too"), (2, "b"), (3, "c")]


def test_times_are_clean_sums() -> None:
    """Steps of a tenth add up to tenths: no rounding error moves a call past a window's edge."""

    async def main() -> list[float]:
        times = []
        for _ in range(300):
            await asyncio.sleep(0.1)
            times.append(asyncio.get_running_loop().time())
        return times

    assert run_virtually(main) == [number / 10 for number in range(1, 301)]


def test_work_between_timers_takes_no_virtual_time() -> None:
    """What is ready is done first, however long it takes by the clock on the wall."""

    async def main() -> float:
        for _ in range(10):
            time.sleep(0.002)
            await asyncio.sleep(0)
        return asyncio.get_running_loop().time()

    assert run_virtually(main) == 0


def test_cancellation_and_timeouts_go_by_virtual_time() -> None:
    """Timeouts of asyncio and anyio end a wait at their moment."""

    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        times = []
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 600)
        times.append(loop.time())
        with anyio.move_on_after(30) as scope:
            await anyio.sleep(31)
        assert scope.cancelled_caught
        times.append(loop.time())
        task = asyncio.ensure_future(asyncio.sleep(1000))
        loop.call_later(5, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        times.append(loop.time())
        return times

    assert run_virtually(main) == [600, 630, 635]


def test_deadlock_is_an_error() -> None:
    """Where a real loop would hang, the error says when that was; every task is cancelled."""
    ended = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def main() -> None:
        await asyncio.sleep(12.5)
        await asyncio.gather(waits(), waits())

    with pytest.raises(VirtualDeadlockError, match=r"^at 12\.5 s of virtual time every task waits"):
        run_virtually(main)
    assert ended == [True, True]


def test_what_would_go_to_a_thread_is_done_at_once() -> None:
    """As the SDK asks for its platform: on the same thread, errors included."""

    def fails() -> None:
        raise ValueError("no")

    async def main() -> bool:
        with pytest.raises(ValueError, match="no"):
            await asyncio.to_thread(fails)
        return await asyncio.to_thread(threading.get_ident) == threading.get_ident()

    assert run_virtually(main)


def test_errors_pass_through() -> None:
    """What the coroutine raises, the caller gets."""

    async def main() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run_virtually(main)


async def test_inside_a_running_loop_it_runs_beside() -> None:
    """A notebook has a loop running: the result, or the error, comes all the same."""

    async def main() -> float:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    async def fails() -> None:
        await asyncio.Event().wait()

    assert run_virtually(main) == 3600
    with pytest.raises(VirtualDeadlockError):
        run_virtually(fails)


def test_blocks_around_it_are_not_seen_inside() -> None:
    """A rehearsal inside ``track()`` adds nothing to what is tracked."""

    async def main() -> int:
        return len(current_scope().reports)

    with track():
        assert run_virtually(main) == 0
