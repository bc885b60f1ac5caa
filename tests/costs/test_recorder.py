"""Recording without a framework: every call inside a block, through sockets and sinks."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import openai
import pytest

from flextier import AsyncFlexOpenAI, FlexOpenAI, FlexPolicy, override
from flextier.costs import CallRecord, record_calls
from flextier.sim import Fault, Simulator, Weather
from tests.client.callers import FAST, KEY, MESSAGES

STALLS = 20


@pytest.fixture
def sim(flextier_sim: Any) -> Any:
    """A simulator with an open flex lane."""
    return flextier_sim


def client_of(sim: Simulator) -> FlexOpenAI:
    """A client whose waits are short."""
    return FlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=FAST.replace(patience=0))


def test_all_calls_of_a_block_count(sim: Simulator) -> None:
    """Chat, Responses and streams, answered, fallen back and failed ones."""
    sim.script(Fault.serve(), Fault.refuse(), Fault.serve(), Fault.serve(), Fault.status(404))
    records: list[CallRecord] = []
    with client_of(sim) as client, record_calls(records.append, tags=("nightly",)) as totals:
        client.chat.completions.create(model="o3", messages=MESSAGES)
        client.responses.create(model="o3", input="Hi.")
        list(client.responses.create(model="o3", input="Hi.", stream=True))
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="o3", messages=MESSAGES)
    assert (totals.calls, totals.failed_calls, totals.fallback_calls) == (3, 1, 1)
    assert totals.refusals == 1
    assert totals.by_tag["nightly"].calls == 3
    assert [record.error for record in records] == [None, None, None, "NotFoundError"]
    assert totals.cost == sum(record.cost.total or 0 for record in records)
    assert totals.saved > 0 < totals.fallback_premium


def test_a_sink_that_raises_harms_no_call(sim: Simulator) -> None:
    """The call returns its answer, the totals count it, and a warning names the sink's error."""

    def full(record: CallRecord) -> None:
        raise OSError("no space left")

    with (
        client_of(sim) as client,
        record_calls(full) as totals,
        pytest.warns(UserWarning, match="no space left"),
    ):
        answer = client.chat.completions.create(model="o3", messages=MESSAGES)
    assert answer.choices
    assert totals.calls == 1


def test_nothing_outside_of_the_block_counts(sim: Simulator) -> None:
    """Neither before nor after."""
    with client_of(sim) as client:
        client.chat.completions.create(model="o3", messages=MESSAGES)
        with record_calls() as totals:
            pass
        client.chat.completions.create(model="o3", messages=MESSAGES)
    assert totals.calls == 0


@pytest.mark.parametrize("calls", [300, pytest.param(1_000, marks=pytest.mark.exhaustive)])
def test_many_calls_add_up_to_what_was_billed(calls: int, sim: Simulator) -> None:
    """Refused and fallen back at random, and some stalled: to the token, and to the last digit."""
    sim.weather = Weather(refuse=0.3)
    sim.script(*[Fault.stall().on(lane="flex")] * STALLS)
    policy = FlexPolicy(backoff_initial=0.001, backoff_max=0.01, patience=0.05, max_retries=4)
    unhurried = openai.Timeout(600)  # to connect, too: on a busy machine they take their time

    async def run() -> None:
        async with AsyncFlexOpenAI(
            base_url=sim.base_url, api_key=KEY, policy=policy, timeout=unhurried
        ) as client:

            async def one(number: int) -> None:
                model = ("o3", "o4-mini", "gpt-5")[number % 3]
                if number % 2:
                    await client.responses.create(model=model, input=f"Hi {number}.")
                else:
                    await client.chat.completions.create(model=model, messages=MESSAGES)

            # Those that stall come first, alone: they need not wait as long as an answer may take.
            with override(flex_timeout=5):
                stalled = [asyncio.create_task(one(number)) for number in range(STALLS)]
            while sim.stats()["stalls"] < STALLS and not any(call.done() for call in stalled):
                await asyncio.sleep(0.02)
            await asyncio.gather(*stalled, *map(one, range(STALLS, calls)))

    with record_calls() as totals:
        asyncio.run(run())

    assert totals.calls == calls
    assert totals.fallback_calls > 0 < totals.refusals
    assert sim.stats()["stalls"] == STALLS
    billed = sim.stats()["billed"]
    assert all(row["cached_input_tokens"] == 0 for _, _, row in _rows(billed))
    assert _tokens(billed) == (totals.input_tokens, totals.output_tokens, totals.reasoning_tokens)
    assert _dollars(billed) == totals.cost


def _tokens(billed: Any) -> tuple[int, int, int]:
    rows = list(_rows(billed))
    return tuple(sum(row[name] for _, _, row in rows) for name in _NAMES)  # type: ignore[return-value]


_NAMES = ("input_tokens", "output_tokens", "reasoning_tokens")


def _rows(billed: Any) -> Any:
    for model, tiers in billed.items():
        for tier, row in tiers.items():
            yield model, tier, row


def _dollars(billed: Any) -> Decimal:
    """Rate by tokens, of the published rates."""
    return sum(
        (
            rate * row[name] / 1_000_000
            for model, tier, row in _rows(billed)
            for name, rate in zip(_NAMES[:2], _RATES[model, tier], strict=True)
        ),
        Decimal(0),
    )


# US$ per million tokens of input and of output, as OpenAI publishes them.
_RATES = {
    ("o3", "default"): (Decimal(2), Decimal(8)),
    ("o3", "flex"): (Decimal(1), Decimal(4)),
    ("o4-mini", "default"): (Decimal("1.10"), Decimal("4.40")),
    ("o4-mini", "flex"): (Decimal("0.55"), Decimal("2.20")),
    ("gpt-5", "default"): (Decimal("1.25"), Decimal(10)),
    ("gpt-5", "flex"): (Decimal("0.625"), Decimal(5)),
}
