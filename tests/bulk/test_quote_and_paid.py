"""A quote against what was then paid, in weather: the range holds, and is narrow enough to use."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
from pydantic import BaseModel

from flextier import AsyncFlexOpenAI, FlexPolicy, quote
from flextier.bulk import run
from flextier.sim import BatchWeather, Simulator, Weather
from tests.bulk.helpers import write_jsonl

ROWS, SAMPLE, PILOT = 120, 30, 40
FAST = FlexPolicy(
    patience=0.4,
    backoff_initial=0.01,
    backoff_max=0.05,
    batch_window=0.1,
    batch_poll_interval=0.05,
)
WEATHERS: dict[str, tuple[str, Callable[[int], Weather]]] = {
    "flex": ("flex", lambda seed: Weather(refuse=0.05)),
    "batch": ("batch,flex", lambda seed: Weather(batch=BatchWeather(line_errors=0.1))),
    "fallback": ("batch,flex,standard", lambda seed: Weather(
        refuse=0.9, batch=BatchWeather(line_errors=0.1 * (seed % 10)))),
}  # fmt: skip


class Verdict(BaseModel):
    """An answer in a form."""

    correct: bool
    reason: str


def targets(client: AsyncFlexOpenAI) -> list[Callable[[dict[str, Any]], Any]]:
    """One call a row; two, the second about the first's answer; one or two; a form with a limit."""

    async def ask(row: dict[str, Any], **more: Any) -> str:
        created = await client.responses.create(model="o4-mini", input=row["text"], **more)
        return created.output_text

    async def chain(row: dict[str, Any]) -> str:
        return await ask({"text": f"Judge this answer: {await ask(row)}"})

    async def long_ones_twice(row: dict[str, Any]) -> str:
        return await (chain if len(row["text"]) > 600 else ask)(row)

    async def form(row: dict[str, Any]) -> Any:
        answer = await client.responses.parse(
            model="o4-mini", input=row["text"], text_format=Verdict, max_output_tokens=500
        )
        return answer.output_parsed

    return [ask, chain, long_ones_twice, form]


def rows(random: Random) -> list[dict[str, str]]:
    """Questions, most of them short."""
    words = ("tide", "harbour", "lighthouse", "of", "the", "northern", "is", "at", "seven", "and")
    return [
        {"text": " ".join(random.choices(words, k=int(random.lognormvariate(4, 0.8)) + 3)) + "?"}
        for _ in range(ROWS)
    ]


def is_within(weather: str, seed: int, sim: Simulator, place: Path) -> bool:
    """Quote, run, and compare; nothing is sent while quoting."""
    lanes, made = WEATHERS[weather]
    place = place / f"{weather}-{seed}"
    place.mkdir()
    data = rows(Random(seed))
    policy = FAST if "," in lanes else FAST.replace(patience=60.0)
    client = AsyncFlexOpenAI(base_url=sim.base_url, api_key=f"{weather} {seed}", policy=policy)
    target = targets(client)[seed % 4]
    pilot = write_jsonl(place / "pilot.jsonl", data[:PILOT])
    totals = run(target, pilot, place / "pilot-out.jsonl", lanes="standard").totals
    expected = None if seed % 4 == 3 else round(totals.output_tokens / totals.calls)
    sim.weather = made(seed)
    sim.reset()
    source = write_jsonl(place / "in.jsonl", data)
    found = quote(target, source, {"lanes": lanes}, sample=SAMPLE, output_tokens=expected)
    assert sim.requests == []
    assert (found.rows, found.sampled, found.errors) == (ROWS, SAMPLE, {})
    result = run(target, source, place / "out.jsonl", lanes=lanes)
    assert (result.done, result.totals.unpriced_calls) == (ROWS, 0)
    paid = result.totals.cost
    assert found.low is not None
    assert found.high is not None
    if expected is not None:  # with a limit alone, the high end is all that it allows
        widest = Decimal(8 if "standard" in lanes else 4)
        assert found.high < widest * found.low
    return found.low <= paid <= found.high


@pytest.mark.parametrize("weather", WEATHERS)
def test_what_is_paid_is_within_the_quote(
    weather: str, flextier_sim: Simulator, tmp_path: Path
) -> None:
    """Once a weather, with a chain."""
    assert is_within(weather, 1, flextier_sim, tmp_path)


@pytest.mark.exhaustive
@pytest.mark.parametrize("weather", WEATHERS)
def test_nine_of_ten_quotes_hold(weather: str, flextier_sim: Simulator, tmp_path: Path) -> None:
    """Over targets, rows and weathers."""
    held = [is_within(weather, seed, flextier_sim, tmp_path) for seed in range(10)]
    assert sum(held) >= 9
