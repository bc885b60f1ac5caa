"""Callers with few calls in flight are warned: their batches run one after the other."""

from __future__ import annotations

import asyncio
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from flextier import AsyncFlexOpenAI, FlexOpenAI
from flextier.sim import Simulator
from tests.batch.crowd import POLICY, aask, ask, options, questions

NARROW = "batches of 2 calls run one after the other"


def test_two_threads(sim: Simulator) -> None:
    """One warning, after two batches."""

    def run() -> None:
        with FlexOpenAI(**options(sim)) as client, ThreadPoolExecutor(2) as pool:
            for pair in range(5):
                said = list(pool.map(lambda text: ask(client, text), questions(2, str(pair))))
                assert all(one.is_right for one in said)

    with pytest.warns(UserWarning, match=NARROW) as caught:
        run()
    assert len(caught) == 1


def test_two_tasks(sim: Simulator) -> None:
    """The same for tasks, whose number a semaphore limits."""

    async def main() -> None:
        limit = asyncio.Semaphore(2)
        async with AsyncFlexOpenAI(**options(sim)) as client:

            async def one(text: str) -> None:
                async with limit:
                    await aask(client, text)

            await asyncio.gather(*map(one, questions(12)))

    with pytest.warns(UserWarning, match=NARROW):
        asyncio.run(main())


@pytest.mark.parametrize("calls", [1, 120])
def test_steps_that_follow_one_another(calls: int, sim: Simulator) -> None:
    """No warning for an agent's single calls, nor for stages of many."""
    with warnings.catch_warnings(), FlexOpenAI(**options(sim, POLICY)) as client:
        warnings.simplefilter("error")
        with ThreadPoolExecutor(calls) as pool:
            for stage in range(4):
                list(pool.map(lambda text: ask(client, text), questions(calls, str(stage))))
