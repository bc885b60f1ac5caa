"""Cancelled calls and closed streams leave no task, socket or waiter behind."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from flextier import AsyncFlexOpenAI, ClientClosedError, capacity_snapshot, track
from flextier.sim import Fault, Simulator
from tests.client.callers import FAST, KEY, MESSAGES, settled
from tests.client.test_clients import make_async


@pytest.fixture
def sim(own_sim: Simulator) -> Simulator:
    """Connections are counted here."""
    return own_sim


WHERE: dict[str, tuple[list[Fault], dict[str, Any]]] = {
    "in-an-attempt": ([Fault.stall()], {}),
    "between-attempts": ([Fault.refuse(retry_after=100)], {}),
    "before-the-first-event": ([Fault.stream_stall(after=0)], {"stream": True}),
}


@pytest.mark.parametrize(("faults", "arguments"), WHERE.values(), ids=WHERE)
async def test_a_cancelled_call(
    faults: list[Fault], arguments: dict[str, Any], sim: Simulator
) -> None:
    """Wherever a call is cancelled, it is gone at once, and its report says so."""
    sim.script(*faults)
    before = asyncio.all_tasks()
    with track() as calls:
        async with make_async(sim, policy=FAST) as client:
            task = asyncio.ensure_future(
                client.chat.completions.create(model="o3", messages=MESSAGES, **arguments)
            )
            await _until(lambda: len(sim.requests) == 1)
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    assert asyncio.all_tasks() == before
    assert await asyncio.to_thread(settled, sim) == 0
    assert len(calls) == 1
    assert not calls[0].served


async def test_a_cancelled_call_that_was_refused_and_waits_for_its_turn(sim: Simulator) -> None:
    """A cancellation is no failure to try again after: the call leaves the line."""
    sim.script(Fault.refuse())
    policy = FAST.replace(patience=100, backoff_initial=50, backoff_max=50)
    with track() as calls:
        async with make_async(sim, policy=policy) as client:
            task = asyncio.ensure_future(
                client.chat.completions.create(model="o3", messages=MESSAGES)
            )
            await _until(lambda: sum(state.waiting for state in capacity_snapshot()) == 1)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
    assert sum(state.waiting for state in capacity_snapshot()) == 0
    assert [attempt.outcome for attempt in calls[0].attempts] == ["capacity"]


async def test_an_outer_timeout_is_the_callers(sim: Simulator) -> None:
    """A timeout around the call stays a TimeoutError of that scope, and nothing is sent again."""
    sim.script(Fault.stall())
    async with make_async(sim) as client:
        with pytest.raises(TimeoutError):
            with anyio.fail_after(0.1):
                await client.chat.completions.create(model="o3", messages=MESSAGES)
    assert len(sim.requests) == 1


async def test_a_stream_closed_half_way(sim: Simulator) -> None:
    """Closing a stream ends its request."""
    sim.script(Fault.stream_stall(after=3))
    async with make_async(sim) as client:
        stream = await client.chat.completions.create(model="o3", messages=MESSAGES, stream=True)
        async for _ in stream:
            break
        await stream.close()
        assert await asyncio.to_thread(settled, sim) == 0


async def test_a_cancelled_reader_of_a_stream(sim: Simulator) -> None:
    """Cancelling the reader of a stream ends the stream."""
    sim.script(Fault.stream_stall(after=3))
    with track() as calls:
        async with make_async(sim) as client:
            task = asyncio.ensure_future(_read(client))
            await _until(lambda: sim.in_flight == 1)
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    assert await asyncio.to_thread(settled, sim) == 0
    assert [a.outcome for a in calls[0].attempts] == ["cancelled"]


async def _read(client: AsyncFlexOpenAI) -> None:
    async with await client.chat.completions.create(
        model="o3", messages=MESSAGES, stream=True
    ) as stream:
        async for _ in stream:
            pass


def test_a_thousand_calls_leave_nothing(sim: Simulator) -> None:
    """After many calls, refused, waiting and cancelled ones among them, nothing is left open."""

    async def run() -> None:
        client = AsyncFlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=FAST)
        await client.chat.completions.create(model="o3", messages=MESSAGES)  # the first is slow
        sim.script(*[Fault.refuse()] * 12, *[Fault.stall()] * 20)
        tasks = [
            asyncio.ensure_future(client.chat.completions.create(model="o3", messages=MESSAGES))
            for _ in range(300)
        ]
        await _until(lambda: len(sim.requests) >= 11)
        assert capacity_snapshot()[0].waiting > 200
        for task in tasks[::3]:
            task.cancel()
        await _until(lambda: sum(task.done() for task in tasks) >= 280)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())
    assert settled(sim) == 0
    assert sim.in_flight == 0
    assert {(lane.waiting, lane.in_flight) for lane in capacity_snapshot()} == {(0, 0)}


async def _until(condition: Any) -> None:
    for _ in range(60_000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("the condition did not come true")


async def test_a_client_that_is_closed_while_a_call_waits(sim: Simulator) -> None:
    """The call ends with an error that says so, and nothing more is sent."""
    sim.script(Fault.refuse(), Fault.refuse())
    with track() as calls:
        client = make_async(sim, policy=FAST.replace(patience=100))
        task = asyncio.ensure_future(client.chat.completions.create(model="o3", messages=MESSAGES))
        await _until(lambda: sum(state.waiting for state in capacity_snapshot()) == 1)
        await client.close()
        with pytest.raises(ClientClosedError) as caught:
            await task
    assert caught.value.report is calls[0]  # type: ignore[attr-defined]
    assert {attempt.outcome for attempt in calls[0].attempts} == {"capacity"}
    assert len(sim.requests) == len(calls[0].attempts)
    assert sum(state.in_flight + state.waiting for state in capacity_snapshot()) == 0
