"""Requests that flex accepts and then leaves unanswered, among others that it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest

from flextier import (
    AsyncFlexOpenAI,
    CallReport,
    FlexOpenAI,
    FlexPolicy,
    capacity_snapshot,
    track,
)
from flextier.capacity import stalls
from flextier.sim import Fault, Simulator
from tests.client.callers import KEY, MESSAGES

pytestmark = pytest.mark.sampled(2)

ASK: Any = {"model": "o3", "messages": MESSAGES}
CALLS = 40
PATIENT = FlexPolicy(deadline=60, standard_reserve=1, backoff_initial=0.01, backoff_max=0.02)

Run = Callable[[str, FlexPolicy], None]


@pytest.fixture(autouse=True)
def sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second of silence may be a stall, not five."""
    monkeypatch.setattr(stalls, "_LEAST", 0.5)
    monkeypatch.setattr(stalls, "_LOOK", 0.05)


def in_tasks(base_url: str, policy: FlexPolicy) -> None:
    """The calls as tasks of one event loop."""

    async def main() -> None:
        async with AsyncFlexOpenAI(base_url=base_url, api_key=KEY, policy=policy) as client:
            await asyncio.gather(*(client.chat.completions.create(**ASK) for _ in range(CALLS)))

    asyncio.run(main())


def in_threads(base_url: str, policy: FlexPolicy) -> None:
    """The calls in threads of their own."""
    with (
        FlexOpenAI(base_url=base_url, api_key=KEY, policy=policy) as client,
        ThreadPoolExecutor(CALLS) as pool,
    ):
        list(
            pool.map(
                lambda context: context.run(client.chat.completions.create, **ASK),
                [copy_context() for _ in range(CALLS)],
            )
        )


both = pytest.mark.parametrize(
    "run", [in_tasks, pytest.param(in_threads, marks=pytest.mark.exhaustive)]
)


def with_a_stall(sim: Simulator, run: Run, policy: FlexPolicy) -> list[CallReport]:
    """The calls' reports: the third request is accepted and never answered."""
    sim.script(Fault.serve(), Fault.serve(), Fault.stall())
    with track() as calls:
        run(sim.base_url, policy)
    return calls


@pytest.mark.parametrize("run", [in_tasks, in_threads])
def test_a_stalled_request_is_sent_again(flextier_sim: Simulator, run: Run) -> None:
    """Where others are answered all the time, with a deadline ahead, silence is not waited out."""
    calls = with_a_stall(flextier_sim, run, PATIENT)
    (stalled,) = (call for call in calls if len(call.attempts) > 1)
    assert [attempt.outcome for attempt in stalled.attempts] == ["timeout", "served"]
    assert {attempt.lane for attempt in stalled.attempts} == {"flex"}
    assert stalled.attempts[0].possibly_billed
    assert stalled.elapsed < 30  # far from the deadline
    (flex,) = (lane for lane in capacity_snapshot() if lane.lane == "flex")
    assert (flex.stalled, flex.answered, flex.refused, flex.state) == (1, CALLS, 0, "open")


@both
def test_a_factor_of_0_waits_for_the_timeout(flextier_sim: Simulator, run: Run) -> None:
    """Silence is then not compared with the responses of others."""
    calls = with_a_stall(flextier_sim, run, PATIENT.replace(stall_factor=0, flex_timeout=3.0))
    (stalled,) = (call for call in calls if len(call.attempts) > 1)
    assert stalled.attempts[0].seconds >= 2.9


@both
def test_without_a_deadline_silence_is_borne(flextier_sim: Simulator, run: Run) -> None:
    """Nothing is lost by waiting then, and what is given up may have been billed."""
    calls = with_a_stall(flextier_sim, run, PATIENT.replace(deadline=None, flex_timeout=3.0))
    (stalled,) = (call for call in calls if len(call.attempts) > 1)
    assert stalled.attempts[0].seconds >= 2.9
