"""Background windows, and the models that came with them, which genai-prices does not list yet.

US$ per million tokens, from https://developers.openai.com/api/docs/guides/background (windows of 2
and 8 hours 30% and 40% below Standard on model tokens) and OpenAI's pages of the models.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from genai_prices import data_snapshot
from genai_prices.data_snapshot import DataSnapshot, set_custom_snapshot
from genai_prices.types import ClauseEquals, ModelInfo, ModelPrice, PriceVariant

from flextier.costs import PriceBook, Usage, price

pytestmark = pytest.mark.usefixtures("no_network")

DAY = date(2026, 12, 1)
FIRST = date(2026, 11, 17)
GUIDE = "https://developers.openai.com/api/docs/guides/background"
SMALL = Usage(100_000, 20_000)
WRITTEN = Usage(100_000, 20_000, cached_input_tokens=30_000, cache_write_tokens=50_000)
EDGE = Usage(272_000, 10_000)
LONG = Usage(300_000, 10_000, cached_input_tokens=100_000, cache_write_tokens=50_000)
TUNED = "ft:o4-mini-2025-04-16:org::id"


def usd(rate: str, tokens: int) -> Decimal:
    """US$ for tokens at a rate per million."""
    return Decimal(rate) * tokens / 1_000_000


SOL = usd("2", 20_000) + usd("0.10", 30_000) + usd("2.50", 50_000) + usd("10", 20_000)
SOL_LONG = usd("4", 150_000) + usd("0.20", 100_000) + usd("5", 50_000) + usd("15", 10_000)
ASTRA = usd("8", 100_000) + usd("40", 20_000)
ASTRA_LONG = usd("16", 272_001) + usd("60", 1)

# model, lane, usage, (input, cached input, cache write, output), standard in one sum, basis
CASES = [
    ("gpt-6.2-sol", "standard", WRITTEN,
     (usd("2", 20_000), usd("0.10", 30_000), usd("2.50", 50_000), usd("10", 20_000)),
     SOL, "exact"),
    ("gpt-6.2-sol", "batch", WRITTEN,
     (usd("1", 20_000), usd("0.05", 30_000), usd("1.25", 50_000), usd("5", 20_000)),
     SOL, "exact"),
    ("gpt-6.2-sol", "fast", WRITTEN,
     (usd("4", 20_000), usd("0.20", 30_000), usd("5", 50_000), usd("20", 20_000)),
     SOL, "exact"),
    ("gpt-6.2-sol", "background-soonest", WRITTEN,
     (usd("2", 20_000), usd("0.10", 30_000), usd("2.50", 50_000), usd("10", 20_000)),
     SOL, "exact"),
    ("gpt-6.2-sol", "background-2h", WRITTEN,
     (usd("1.40", 20_000), usd("0.07", 30_000), usd("1.75", 50_000), usd("7", 20_000)),
     SOL, "estimated"),
    ("gpt-6.2-sol", "background-8h", WRITTEN,
     (usd("1.20", 20_000), usd("0.06", 30_000), usd("1.50", 50_000), usd("6", 20_000)),
     SOL, "estimated"),
    # Long requests: twice for input, half as much again for output, from above 272,000 tokens on.
    ("gpt-6.2-sol", "standard", EDGE,
     (usd("2", 272_000), usd("0", 1), usd("0", 1), usd("10", 10_000)),
     usd("2", 272_000) + usd("10", 10_000), "exact"),
    ("gpt-6.2-sol", "standard", LONG,
     (usd("4", 150_000), usd("0.20", 100_000), usd("5", 50_000), usd("15", 10_000)),
     SOL_LONG, "exact"),
    ("gpt-6.2-sol", "batch", LONG,
     (usd("2", 150_000), usd("0.10", 100_000), usd("2.50", 50_000), usd("7.50", 10_000)),
     SOL_LONG, "exact"),
    ("gpt-6.2-sol", "background-8h", LONG,
     (usd("2.40", 150_000), usd("0.12", 100_000), usd("3", 50_000), usd("9", 10_000)),
     SOL_LONG, "estimated"),
    ("gpt-6.2-astra", "standard", SMALL,
     (usd("8", 100_000), usd("0", 1), usd("0", 1), usd("40", 20_000)), ASTRA, "exact"),
    ("gpt-6.2-astra", "batch", SMALL,
     (usd("4", 100_000), usd("0", 1), usd("0", 1), usd("20", 20_000)), ASTRA, "exact"),
    ("gpt-6.2-astra", "background-2h", SMALL,
     (usd("5.60", 100_000), usd("0", 1), usd("0", 1), usd("28", 20_000)), ASTRA, "estimated"),
    ("gpt-6.2-astra", "standard", Usage(272_001, 1),
     (usd("16", 272_001), usd("0", 1), usd("0", 1), usd("60", 1)), ASTRA_LONG, "exact"),
    # Any model of OpenAI's that was billed on a window, known to be sold there or not.
    ("o3", "background-8h", WRITTEN,
     (usd("1.20", 20_000), usd("0.30", 30_000), usd("1.20", 50_000), usd("4.80", 20_000)),
     usd("2", 20_000) + usd("0.50", 30_000) + usd("2", 50_000) + usd("8", 20_000), "estimated"),
    ("gpt-4.1", "background-2h", SMALL,
     (usd("1.40", 100_000), usd("0", 1), usd("0", 1), usd("5.60", 20_000)),
     usd("2", 100_000) + usd("8", 20_000), "estimated"),
    # Its fine-tuned models, at 4 and 16.
    (TUNED, "background-8h", SMALL,
     (usd("2.40", 100_000), usd("0", 1), usd("0", 1), usd("9.60", 20_000)),
     usd("4", 100_000) + usd("16", 20_000), "estimated"),
    (TUNED, "background-soonest", SMALL,
     (usd("4", 100_000), usd("0", 1), usd("0", 1), usd("16", 20_000)),
     usd("4", 100_000) + usd("16", 20_000), "exact"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "lane", "usage", "parts", "standard", "basis"),
    CASES,
    ids=[f"{case[0]}-{case[1]}-{case[2].input_tokens}" for case in CASES],
)
def test_published_prices(
    model: str, lane: str, usage: Usage, parts: tuple[Decimal, ...], standard: Decimal, basis: str
) -> None:
    """Each part, the total, standard and the saving, to the last digit."""
    cost = price(usage, model=model, lane=lane, at=DAY)
    assert (cost.input, cost.cached_input, cost.cache_write, cost.output) == parts
    assert (cost.total, cost.standard) == (sum(parts), standard)
    assert cost.saved == standard - sum(parts)
    assert (cost.basis, cost.lane) == (basis, lane)


@pytest.mark.parametrize(("lane", "share"), [("background-2h", "0.7"), ("background-8h", "0.6")])
def test_an_estimate_names_its_source(lane: str, share: str) -> None:
    """What is missing, what stands in for it, and where OpenAI says so."""
    cost = price(SMALL, model="gpt-6.2-sol", lane=lane, at=DAY)
    assert cost.reason == (
        f"no {lane} rate of openai/gpt-6.2-sol is listed: taken as {share} of standard ({GUIDE})"
    )
    assert cost.priced_as == "openai/gpt-6.2-sol"


def test_a_rate_that_only_others_report() -> None:
    """Cached input of gpt-6.2-astra, 0.40: an estimate of the calls that have some."""
    cached = Usage(100_000, 20_000, cached_input_tokens=60_000)
    cost = price(cached, model="gpt-6.2-astra", lane="standard", at=DAY)
    assert cost.total == usd("8", 40_000) + usd("0.40", 60_000) + usd("40", 20_000)
    assert cost.basis == "estimated"
    assert "as resellers report" in str(cost.reason)
    window = price(cached, model="gpt-6.2-astra", lane="background-8h", at=DAY)
    assert window.cached_input == usd("0.24", 60_000)
    assert GUIDE in str(window.reason)
    assert "as resellers report" in str(window.reason)
    flex = price(cached, model="gpt-6.2-astra", lane="flex", at=DAY)
    assert flex.reason == "no flex rate of openai/gpt-6.2-astra is listed"


UNPRICED = [
    ("o3", "background-8h", date(2026, 11, 16), "background-8h was not sold before 2026-11-17"),
    ("o3", "background-2h", date(2026, 11, 16), "background-2h was not sold before 2026-11-17"),
    ("gpt-6.2-sol", "flex", DAY, "no flex rate of openai/gpt-6.2-sol is listed"),
    ("gpt-6.2-astra", "priority", DAY, "no priority rate of openai/gpt-6.2-astra is listed"),
    ("gemini-2.5-flash", "background-8h", DAY, "no background-8h rate of google/"),
    ("azure/o3", "background-8h", DAY, "no background-8h rate of azure/"),
    ("azure/gpt-6.2-sol", "batch", DAY, "no batch rate of azure/gpt-6.2-sol"),
    ("whisper-1", "background-8h", DAY, "not sold by the token"),
    ("whisper-1", "background-soonest", DAY, "not sold by the token"),
    ("my-model", "background-8h", DAY, "no price of a model 'my-model'"),
    ("my-model", "background-soonest", DAY, "no price of a model 'my-model'"),
    ("gpt-6.2", "standard", DAY, "no price of a model 'gpt-6.2'"),
    ("o3", "background-24h", DAY, "no price of a lane 'background-24h'"),
]


@pytest.mark.parametrize(("model", "lane", "day", "words"), UNPRICED)
def test_what_has_no_known_price(model: str, lane: str, day: date, words: str) -> None:
    """It is unpriced and says why."""
    cost = price(SMALL, model=model, lane=lane, at=day)
    assert (cost.basis, cost.total, cost.standard) == ("unpriced", None, None)
    assert words in str(cost.reason)


def test_the_first_day() -> None:
    """Windows and GPT-6.2 came together, on 17 November 2026."""
    assert price(SMALL, model="o3", lane="background-8h", at=FIRST).total is not None
    assert price(SMALL, model="gpt-6.2-sol", lane="standard", at=FIRST).basis == "exact"
    with pytest.raises(ValueError, match="before 2026-11-17: at=2026-11-16"):
        price(SMALL, model="gpt-6.2-sol", lane="standard", at=date(2026, 11, 16))


def test_soonest_is_as_old_as_background() -> None:
    """It is standard by another name, on every day, with standard's basis and reason."""
    early = date(2026, 10, 1)
    soonest = price(SMALL, model="o3-2026-03-03", lane="background-soonest", at=early)
    standard = price(SMALL, model="o3-2026-03-03", lane="standard", at=early)
    assert soonest == replace(standard, lane="background-soonest")
    assert (soonest.basis, soonest.saved) == ("estimated", 0)


def test_other_names_of_the_new_models() -> None:
    """The window's price applies to capitals, vendor prefixes, unlisted snapshots and resellers."""
    plain = price(SMALL, model="gpt-6.2-sol", lane="standard", at=DAY)
    for name in ("GPT-6.2-Sol", "openai/gpt-6.2-sol", "azure/gpt-6.2-sol"):
        assert price(SMALL, model=name, lane="standard", at=DAY).total == plain.total
    dated = price(SMALL, model="gpt-6.2-sol-2026-11-17", lane="background-8h", at=DAY)
    assert dated.total == usd("1.20", 100_000) + usd("6", 20_000)
    assert "gpt-6.2-sol-2026-11-17 is not listed: priced as gpt-6.2-sol" in str(dated.reason)


@contextmanager
def listing(*models: ModelInfo) -> Iterator[None]:
    """A price list that has these models of OpenAI's, too."""
    vendors = list(data_snapshot.get_snapshot().providers)
    place = next(number for number, vendor in enumerate(vendors) if vendor.id == "openai")
    vendors[place] = replace(vendors[place], models=[*models, *vendors[place].models])
    set_custom_snapshot(DataSnapshot(providers=vendors, from_auto_update=True))
    try:
        yield
    finally:
        set_custom_snapshot(None)


def sold(name: str, *variants: PriceVariant) -> ModelInfo:
    """A model at 3 and 11, cached input at 1."""
    return ModelInfo(
        id=name,
        match=ClauseEquals(name),
        prices=ModelPrice(
            input_mtok=Decimal(3), cache_read_mtok=Decimal(1), output_mtok=Decimal(11)
        ),
        price_variants=list(variants),
    )


def window(**prices: Any) -> PriceVariant:
    """Rates of the window of 8 hours."""
    return PriceVariant({"completion_window": "8h"}, ModelPrice(**prices))


def test_what_the_price_list_says_counts() -> None:
    """As soon as it has a model, nothing of ours is left: neither rates nor doubts nor batch."""
    cached = Usage(100_000, 0, cached_input_tokens=100_000)
    with listing(sold("gpt-6.2-astra")):
        cost = price(cached, model="gpt-6.2-astra", lane="standard", at=DAY)
        batch = price(SMALL, model="gpt-6.2-astra", lane="batch", at=DAY)
    assert (cost.total, cost.basis) == (usd("1", 100_000), "exact")
    assert batch.basis == "unpriced"


def test_a_window_that_is_listed() -> None:
    """Its rates are exact; a window that is not listed stays a share."""
    rates = {"input_mtok": Decimal(2), "cache_read_mtok": Decimal("0.5"), "output_mtok": Decimal(7)}
    cached = Usage(100_000, 20_000, cached_input_tokens=60_000)
    with listing(sold("gpt-6.3-sol", window(**rates))):
        long_window = price(cached, model="gpt-6.3-sol", lane="background-8h", at=DAY)
        short_window = price(cached, model="gpt-6.3-sol", lane="background-2h", at=DAY)
    assert long_window.total == usd("2", 40_000) + usd("0.5", 60_000) + usd("7", 20_000)
    assert (long_window.basis, long_window.reason) == ("exact", None)
    assert short_window.total == usd("2.10", 40_000) + usd("0.70", 60_000) + usd("7.70", 20_000)
    assert short_window.basis == "estimated"


def test_a_window_that_is_listed_in_part() -> None:
    """The rate of cached input that it lacks is a share of standard's."""
    cached = Usage(100_000, 0, cached_input_tokens=100_000)
    rates = {"input_mtok": Decimal(2), "output_mtok": Decimal(7)}
    with listing(sold("gpt-6.3-sol", window(**rates))):
        cost = price(cached, model="gpt-6.3-sol", lane="background-8h", at=DAY)
        plain = price(SMALL, model="gpt-6.3-sol", lane="background-8h", at=DAY)
    assert (cost.total, cost.basis) == (usd("0.6", 100_000), "estimated")
    assert GUIDE in str(cost.reason)
    assert plain.basis == "exact"


OWN = {"input": "3", "output": "12", "cached_input": "1"}


@pytest.mark.parametrize("model", ["gpt-6.2-sol", "house-model"], ids=["listed", "unlisted"])
def test_standard_rates_of_ones_own(model: str) -> None:
    """A window is OpenAI's share of them, soonest is they themselves."""
    book = PriceBook(rates={model: OWN})
    usage = Usage(100_000, 20_000, cached_input_tokens=60_000)
    standard = usd("3", 40_000) + usd("1", 60_000) + usd("12", 20_000)
    long_window = book.price(usage, model=model, lane="background-8h", at=DAY)
    assert long_window.total == usd("1.8", 40_000) + usd("0.6", 60_000) + usd("7.2", 20_000)
    assert (long_window.standard, long_window.basis) == (standard, "estimated")
    assert long_window.reason == (
        f"the price book has no background-8h rates of {model}: taken as 0.6 of standard ({GUIDE})"
    )
    soonest = book.price(usage, model=model, lane="background-soonest", at=DAY)
    assert (soonest.total, soonest.basis) == (standard, "exact")
    before = book.price(usage, model=model, lane="background-8h", at=date(2026, 11, 16))
    assert before.reason == "background-8h was not sold before 2026-11-17"


def test_window_rates_of_ones_own() -> None:
    """They come first; the lanes without any are as they were."""
    given = {"background-8h": {"input": "1", "output": "4"}}
    book = PriceBook(rates={"gpt-6.2-sol": given, "house-model": given})
    standard = usd("2", 100_000) + usd("10", 20_000)
    cost = book.price(SMALL, model="gpt-6.2-sol", lane="background-8h", at=DAY)
    assert cost.total == usd("1", 100_000) + usd("4", 20_000)
    assert (cost.standard, cost.basis) == (standard, "exact")
    other = book.price(SMALL, model="gpt-6.2-sol", lane="background-2h", at=DAY)
    assert other.total == usd("1.4", 100_000) + usd("7", 20_000)
    house = book.price(SMALL, model="house-model", lane="background-2h", at=DAY)
    assert house.reason == "the price book has no background-2h rates of house-model"
    soonest = PriceBook(rates={"o3": {"background-soonest": OWN, "standard": {**OWN, "input": 9}}})
    assert soonest.price(Usage(1_000_000, 0), model="o3", lane="background-soonest").total == 3


def test_standard_rates_of_ones_own_beside_listed_windows() -> None:
    """What is listed for a window, and another vendor's model, is no share of one's own rates."""
    book = PriceBook(rates={"gpt-6.3-sol": OWN, "gemini-2.5-flash": OWN})
    rates = {"input_mtok": Decimal(2), "output_mtok": Decimal(7)}
    with listing(sold("gpt-6.3-sol", window(**rates))):
        listed = book.price(SMALL, model="gpt-6.3-sol", lane="background-8h", at=DAY)
    assert listed.total == usd("2", 100_000) + usd("7", 20_000)
    assert listed.standard == usd("3", 100_000) + usd("12", 20_000)
    other = book.price(SMALL, model="gemini-2.5-flash", lane="background-8h", at=DAY)
    assert other.basis == "unpriced"
