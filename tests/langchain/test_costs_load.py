"""The cost handler under load: a thousand calls at once, against the simulator's own account."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import openai
import pytest
from langchain_core.prompts import ChatPromptTemplate

from flextier import override
from flextier.costs import CostTotals
from flextier.langchain import FlexCostCallbackHandler, get_flex_cost_callback
from flextier.sim import Fault, Simulator, Weather
from tests.langchain.bills import assert_adds_up, dollars
from tests.langchain.helpers import Make

pytestmark = pytest.mark.exhaustive  # a thousand calls

STALLS, REJECTED = 100, 50
UNHURRIED = openai.Timeout(600)  # to connect, too: on a busy machine a thousand take their time
PROMPT = ChatPromptTemplate.from_template("{topic} Be short.")


async def test_a_thousand_calls_add_up(make: Make, sim: Simulator) -> None:
    """Refused, stalled, rejected, fallen back, plain and streamed: every call once, to the cent.

    o3 is refused at random, by patient and impatient calls, on both APIs; every request of o4-mini
    on flex stalls and goes on to standard; some requests are rejected.
    """
    sim.weather = Weather(refuse=0.3)
    sim.script(*[Fault.stall().on(lane="flex", model="o4-mini")] * STALLS)
    sim.script(*[Fault.status(400).on(path="/v1/responses")] * REJECTED)
    costs = FlexCostCallbackHandler(keep_records=None)
    patient = make(stream_usage=True, timeout=UNHURRIED)
    impatient = make(policy={"patience": 0}, timeout=UNHURRIED)
    chain = PROMPT | patient
    responses = make(use_responses_api=True, timeout=UNHURRIED)
    stalled = make(model="o4-mini", policy={"patience": 0}, timeout=UNHURRIED, max_tokens=300)

    async def streamed(text: str, config: Any) -> None:
        async for _ in patient.astream(text, config):
            pass

    async def answered(ask: Any, number: int) -> bool:
        config = {"callbacks": [costs], "tags": [f"team {number % 3}"]}
        try:
            await ask(f"Number {number}.", config)
        except openai.BadRequestError:
            return False
        return True

    def ask_all(asks: list[Any]) -> list[asyncio.Task[bool]]:
        return [asyncio.create_task(answered(ask, number)) for number, ask in enumerate(asks)]

    with get_flex_cost_callback() as block:
        with override(flex_timeout=5):
            calls = ask_all([stalled.ainvoke] * STALLS)
        # All have arrived, and wait for nothing, before the others come.
        while sim.stats()["stalls"] < STALLS and not any(call.done() for call in calls):
            await asyncio.sleep(0.02)
        calls += ask_all([responses.ainvoke, streamed, impatient.ainvoke, chain.ainvoke] * 225)
        answers = sum(await asyncio.gather(*calls))

    totals, stats = costs.totals, sim.stats()
    assert_adds_up(totals, sim)
    assert (totals.calls, totals.failed_calls) == (answers, 1000 - answers) == (950, REJECTED)
    assert totals.refusals == stats["refusals"] > 0
    assert totals.possibly_billed_attempts == stats["stalls"] == STALLS
    assert totals.fallback_calls == stats["served"]["default"] > STALLS
    assert block.totals == totals == CostTotals(costs.records)
    parts = (sums.cost for sums in totals.by_tag.values())
    assert sum(parts, Decimal(0)) == totals.cost == dollars(sim)
    assert totals.possibly_billed == sum(
        (r.possibly_billed for r in costs.records if r.possibly_billed is not None), Decimal(0)
    )
    stalls = [record for record in costs.records if record.possibly_billed_attempts]
    for record in stalls:
        assert record.usage is not None
        assert record.possibly_billed is not None
        most = Decimal("0.55") * record.usage.input_tokens + Decimal("2.2") * 300
        assert record.possibly_billed == most / 1_000_000
    assert not costs._open_runs
