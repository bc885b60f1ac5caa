"""The limit of async attempts and of a stream's events, in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import openai
import pytest

from flextier._openai.http_library import new_request
from flextier.rehearsal.virtual_loop import run_virtually
from flextier.transport.attempt_limits import TaskLimit, async_time_limit


def now() -> float:
    return asyncio.get_running_loop().time()


def test_what_takes_too_long_is_cancelled_and_the_task_goes_on() -> None:
    """The time is that given, and the task is not cancelled any more."""

    async def main() -> tuple[float, float]:
        with TaskLimit().within(3):
            await asyncio.sleep(10)
        ended = now()
        await asyncio.sleep(1)
        return ended, now()

    assert run_virtually(main) == (3, 4)


def test_each_use_has_its_own_time() -> None:
    """Later uses end by their own limits, be they longer or shorter than the first."""

    async def main() -> list[float]:
        limit, ends = TaskLimit(), []
        for seconds, work in ((5, 1), (5, 9), (2, 9), (30, 9), (5, 1)):
            began = now()
            with limit.within(seconds):
                await asyncio.sleep(work)
            ends.append(now() - began)
        return ends

    assert run_virtually(main) == [1, 5, 2, 9, 1]


def test_uses_share_a_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred events of a stream set one timer."""

    async def main() -> int:
        loop: Any = asyncio.get_running_loop()
        limit, timers, call_at = TaskLimit(), [], loop.call_at
        monkeypatch.setattr(loop, "call_at", lambda *args: timers.append(args) or call_at(*args))
        for _ in range(100):
            with limit.within(900):
                await asyncio.sleep(0)
        limit.stop()
        return len(timers)

    assert run_virtually(main) == 1


def test_time_outside_is_the_callers() -> None:
    """A timer that ends between two uses cancels nothing."""

    async def main() -> float:
        limit = TaskLimit()
        with limit.within(3):
            await asyncio.sleep(1)
        await asyncio.sleep(60)
        with limit.within(3):
            await asyncio.sleep(1)
        return now()

    assert run_virtually(main) == 62


def test_stalls_are_checked_as_often_as_said() -> None:
    """A silent attempt ends when ``stalls_in`` returns 0, or at its limit, whichever is first."""

    async def main() -> list[float]:
        ends = []
        for checks in ([2, 3, 0], [2, 30], [0, 0]):
            began, left = now(), iter(checks)
            with TaskLimit(lambda left=left: next(left)).within(20):
                await asyncio.sleep(60)
            ends.append(now() - began)
        return ends

    assert run_virtually(main) == [5, 20, 0]


@pytest.mark.parametrize("seconds", [1, 3])
def test_a_cancelled_task_is_cancelled(seconds: float) -> None:
    """Also one that is cancelled at the very moment at which the time is over."""

    async def inner() -> str:
        with TaskLimit().within(3):
            await asyncio.sleep(60)
        await asyncio.sleep(0)
        return "went on"

    async def main() -> Any:
        task = asyncio.ensure_future(inner())
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(seconds, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        return now()

    assert run_virtually(main) == seconds


def test_cancel_scopes_inside_and_around_keep_their_own_time() -> None:
    """Those of HTTP clients are inside, those of callers around."""

    async def inside() -> float:
        with TaskLimit().within(3):
            with anyio.move_on_after(1):
                await asyncio.sleep(60)
            with anyio.move_on_after(30):
                await asyncio.sleep(60)
        return now()

    async def around() -> float:
        with anyio.move_on_after(1), TaskLimit().within(3):
            await asyncio.sleep(60)
        return now()

    assert (run_virtually(inside), run_virtually(around)) == (3, 1)


def test_under_trio() -> None:
    """It is an error at the end of the time, and nothing before."""
    trio = pytest.importorskip("trio")
    testing = pytest.importorskip("trio.testing")

    def limit() -> async_time_limit:
        return async_time_limit(5, None, lambda: new_request("https://api.example.com"))

    async def run() -> None:
        with limit():
            await trio.sleep(4)
        with pytest.raises(openai.APITimeoutError), limit():
            await trio.sleep(6)

    trio.run(run, clock=testing.MockClock(autojump_threshold=0))
