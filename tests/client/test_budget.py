"""Budgets: checked before a call, counted after it, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from decimal import Decimal, localcontext
from typing import Any

import openai
import pytest

from flextier import AsyncFlexOpenAI, BudgetExceeded, FlexOpenAI, PolicyError, budget, track
from flextier.calls.budget import PROCESS
from flextier.sim import Fault, Simulator
from tests.client.callers import FAST, KEY, MESSAGES, Caller

TINY = Decimal("0.000001")
ENOUGH = Decimal(100)


@pytest.fixture(autouse=True)
def nothing_spent() -> Iterator[None]:
    """What other tests have spent is not counted here, nor this here elsewhere."""
    PROCESS.reset()
    yield
    PROCESS.reset()


def ask(sim: Simulator, **arguments: Any) -> Any:
    """One plain chat call."""
    with FlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=FAST) as client:
        return client.chat.completions.create(**{"model": "o3", "messages": MESSAGES, **arguments})


def test_the_call_after_the_limit_is_not_made(plain: Caller, sim: Simulator) -> None:
    """The call that spends the budget is answered; the next one sends nothing."""
    policy = FAST.replace(budget=TINY)
    first = plain(sim.base_url, policy)
    assert first.text
    with track() as calls, pytest.raises(BudgetExceeded, match="FLEXTIER_BUDGET") as raised:
        _again(plain, sim, policy)
    assert calls == []
    assert len(sim.requests) == 1
    assert raised.value.limit == TINY
    assert raised.value.spent == first.report.cost.total
    assert isinstance(raised.value, openai.OpenAIError)


def _again(plain: Caller, sim: Simulator, policy: Any) -> None:
    if plain.is_async:
        asyncio.run(_aask(sim, policy))
    else:
        with FlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=policy) as client:
            client.chat.completions.create(model="o3", messages=MESSAGES)


async def _aask(sim: Simulator, policy: Any) -> None:
    async with AsyncFlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=policy) as client:
        await client.chat.completions.create(model="o3", messages=MESSAGES)


def test_a_block_counts_its_own_calls_only(sim: Simulator) -> None:
    """`budget` is for the calls inside: neither those before nor the process's."""
    ask(sim)
    with budget(ENOUGH) as spending, track() as calls:
        ask(sim)
    assert spending.spent == calls[0].cost.total
    assert PROCESS.spent == 0


def test_the_programs_own_decimal_context_is_no_matter(sim: Simulator) -> None:
    """What is spent has all its digits, however few the program itself wants."""
    with localcontext() as context, budget(ENOUGH) as spending, track() as calls:
        context.prec = 2
        ask(sim)
        ask(sim, model="gpt-5")
    assert spending.spent == sum(call.cost.total or 0 for call in calls) > 0


def test_blocks_nest(sim: Simulator) -> None:
    """A call counts in every block around it; the tightest one stops it."""
    with budget(ENOUGH) as outer, budget(TINY) as inner:
        ask(sim)
        with pytest.raises(BudgetExceeded, match=r"budget\(") as raised:
            ask(sim)
        assert raised.value.limit == TINY
    assert outer.spent == inner.spent > 0
    with budget(outer.spent):
        ask(sim)


def test_concurrent_calls_overshoot_by_what_was_in_flight(sim: Simulator) -> None:
    """Calls that had begun are finished and counted; none begins after the limit."""
    with budget(TINY) as spending, track() as calls:
        context = copy_context()
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(lambda _: context.copy().run(_one, sim), range(40)))
    assert results.count("answered") == len(calls) <= 4
    assert spending.spent == sum(call.cost.total or 0 for call in calls)


def _one(sim: Simulator) -> str:
    try:
        ask(sim)
    except BudgetExceeded:
        return "stopped"
    return "answered"


def test_streams_are_counted_when_they_end(sim: Simulator) -> None:
    """A stream's usage comes at its end, and so does its cost."""
    with budget(ENOUGH) as spending:
        stream = ask(sim, stream=True, stream_options={"include_usage": True})
        list(stream)
    assert spending.spent > 0


def test_a_failed_call_costs_nothing(sim: Simulator) -> None:
    """A refusal is not billed, and a rejected call neither."""
    sim.script(Fault.status(404))
    with budget(TINY) as spending:
        with pytest.raises(openai.NotFoundError):
            ask(sim)
        assert spending.spent == 0
        ask(sim)


def test_an_unpriced_call_is_warned_about_and_counted(sim: Simulator) -> None:
    """Unknown is not zero: a warning names the model and the way out, once."""
    with budget(ENOUGH) as spending:
        with pytest.warns(UserWarning, match="'in-house'.*PriceBook"):
            ask(sim, model="in-house")
        ask(sim, model="in-house")
    assert (spending.spent, spending.unpriced_calls) == (0, 2)


@pytest.mark.parametrize("limit", [0, -1, "much", float("nan"), float("inf")])
def test_no_amount_is_an_error(limit: Any) -> None:
    """A block's limit is US$ above 0."""
    with pytest.raises(PolicyError, match="budget"), budget(limit):
        pass


@pytest.mark.parametrize("value", [0, -1, "much"])
def test_the_policys_field_names_itself(value: Any) -> None:
    """So is the policy's: the message names the field and the variable."""
    with pytest.raises(PolicyError, match="FLEXTIER_BUDGET"):
        FAST.replace(budget=value)
