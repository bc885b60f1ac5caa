"""LangChain's calls in plain threads: what blocks and callbacks see of them."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from flextier import budget, override, track, wrap
from flextier.costs import record_calls
from flextier.langchain import ChatOpenAIFlex, get_flex_cost_callback
from flextier.sim import Simulator
from tests.client.callers import FAST, KEY

NUMBERS = range(6)


def model_of(sim: Simulator) -> ChatOpenAIFlex:
    """A model that all threads share."""
    return ChatOpenAIFlex(model="o3", base_url=sim.base_url, api_key=KEY, policy=FAST)


def test_a_wrapped_function(flextier_sim: Any) -> None:
    """Flextier's blocks and LangChain's callbacks reach it, sync and async."""
    model = model_of(flextier_sim)

    def ask(number: int) -> Any:
        return model.invoke("Name a colour.").response_metadata["service_tier"]

    async def aask(number: int) -> Any:
        return (await model.ainvoke("Name a colour.")).response_metadata["service_tier"]

    with (
        ThreadPoolExecutor(3) as pool,
        get_flex_cost_callback() as costs,
        record_calls() as totals,
        track() as calls,
        budget(1) as spending,
        override(lanes=("standard",)),
    ):
        wrapped, awrapped = wrap(ask), wrap(aask)
        answers = [*pool.map(wrapped, NUMBERS)]
        answers += pool.map(lambda number: asyncio.run(awrapped(number)), NUMBERS)
    assert answers == ["default"] * 12
    assert len(calls) == totals.calls == costs.totals.calls == 12
    assert spending.spent == totals.cost == costs.totals.cost > 0


def test_a_plain_function(flextier_sim: Any) -> None:
    """Process-wide blocks see it, and no other."""
    model = model_of(flextier_sim)
    with (
        ThreadPoolExecutor(3) as pool,
        record_calls(scope="process") as totals,
        track(scope="process") as calls,
        track() as mine,
    ):
        list(pool.map(model.invoke, ["Name a colour."] * 6))
    assert len(calls) == totals.calls == 6
    assert mine == []
