"""Price books: names and rates of one's own, days, bad input, what is remembered."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from genai_prices.data_snapshot import DataSnapshot, set_custom_snapshot
from genai_prices.types import ClauseEquals, ModelInfo, ModelPrice, Provider

from flextier import costs
from flextier.costs import Cost, PriceBook, Rates, Usage, price, price_book, set_price_book
from flextier.pricing.price_book import _MAX_CACHED_SHEETS
from tests.pricing.listed import skip_if_too_new

pytestmark = pytest.mark.usefixtures("no_network")

AUTUMN = date(2026, 11, 1)
SMALL = Usage(100_000, 20_000)
CACHED = Usage(100_000, 20_000, cached_input_tokens=60_000)
O3_FLEX = Decimal("1") * 100_000 / 1_000_000 + Decimal("4") * 20_000 / 1_000_000
O3_STANDARD = Decimal("2") * 100_000 / 1_000_000 + Decimal("8") * 20_000 / 1_000_000


def test_a_name_that_a_gateway_gave() -> None:
    """An alias is priced as what is behind it, and keeps its name."""
    book = PriceBook(aliases={"my-o3": "o3", "prod": "google/gemini-2.5-flash"})
    cost = book.price(SMALL, model="my-o3", lane="flex", at=AUTUMN)
    assert (cost.model, cost.priced_as, cost.total) == ("my-o3", "openai/o3", O3_FLEX)
    other = book.price(SMALL, model="prod", lane="standard", at=AUTUMN)
    assert other.priced_as == "google/gemini-2.5-flash"


def test_rates_of_ones_own() -> None:
    """A private model has the lanes that were given rates, and no others."""
    book = PriceBook(rates={"mine": {"input": "2", "output": 8, "cached_input": Decimal("0.1")}})
    cost = book.price(CACHED, model="mine", lane="default")
    assert (
        cost.total
        == (Decimal("2") * 40_000 + Decimal("0.1") * 60_000 + Decimal("8") * 20_000) / 1_000_000
    )
    assert (cost.basis, cost.saved) == ("exact", 0)
    flex = book.price(SMALL, model="mine", lane="flex")
    assert (flex.basis, flex.total) == ("unpriced", None)
    assert flex.reason == "the price book has no flex rates of mine"


def test_rates_by_lane() -> None:
    """Lanes without rates of one's own keep those of the public list, beside one's own standard."""
    book = PriceBook(rates={"o3": {"flex": {"input": "0.9", "output": "3"}}})
    flex = book.price(SMALL, model="o3", lane="flex", at=AUTUMN)
    assert flex.total == (Decimal("0.9") * 100_000 + Decimal("3") * 20_000) / 1_000_000
    assert flex.standard == O3_STANDARD
    assert book.price(SMALL, model="o3", lane="standard", at=AUTUMN).total == O3_STANDARD

    book = PriceBook(rates={"o3": Rates.of(input="1.5", output="6")})
    flex = book.price(SMALL, model="o3", lane="flex", at=AUTUMN)
    assert flex.total == O3_FLEX
    assert flex.standard == (Decimal("1.5") * 100_000 + Decimal("6") * 20_000) / 1_000_000


def test_only_flex_is_known() -> None:
    """Without a standard price there is a cost and no saving."""
    book = PriceBook(rates={"mine": {"flex": {"input": "1", "output": "4"}}})
    cost = book.price(SMALL, model="mine", lane="flex")
    assert (cost.total, cost.standard, cost.saved) == (O3_FLEX, None, None)


def test_rates_of_an_alias() -> None:
    """Rates can be given to either name; the alias's own come first."""
    given: dict[str, Any] = {"o3": {"input": "7", "output": "7"}}
    book = PriceBook(aliases={"mine": "o3"}, rates=given)
    assert book.price(Usage(1_000_000, 0), model="mine", lane="standard").total == 7
    book = PriceBook(aliases={"mine": "o3"}, rates={**given, "mine": {"input": 1, "output": 1}})
    assert book.price(Usage(1_000_000, 0), model="mine", lane="standard").total == 1


def test_the_book_of_the_process() -> None:
    """Set once, it is what every price goes by; a book of one's own comes first."""
    mine = PriceBook(aliases={"my-o3": "o3"})
    before = set_price_book(mine)
    assert price_book() is mine
    assert price(SMALL, model="my-o3", lane="flex", at=AUTUMN).total == O3_FLEX
    assert price(SMALL, model="my-o3", lane="flex", book=before).basis == "unpriced"
    assert set_price_book(None) is mine
    assert price(SMALL, model="my-o3", lane="flex").basis == "unpriced"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"input": 2.5, "output": 8}, "input=2.5"),
        ({"input": "2", "output": True}, "output=True"),
        ({"input": "two", "output": "8"}, "input='two'"),
        ({"input": "-2", "output": "8"}, "input='-2'"),
        ({"input": "NaN", "output": "8"}, "input='NaN'"),
        ({"input": "2", "output": "8", "cached_input": "Infinity"}, "cached_input='Infinity'"),
        ({"input": "2"}, "need output"),
        ({"output": "2"}, "need input"),
        ({"input": "2", "output": "8", "cached": "1"}, "no 'cached'"),
        ({"flex": {"input": "2"}}, "need output"),
        ({"flex": "2"}, "'mine'"),
        ("2", "'mine'"),
        (2, "'mine'"),
    ],
)
def test_rates_that_cannot_be(given: Any, words: str) -> None:
    """They are refused when the book is made, by the model's name and theirs."""
    with pytest.raises(ValueError, match="'mine'") as caught:
        PriceBook(rates={"mine": given})
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("usage", "words"),
    [
        (Usage(-1, 0), "input_tokens=-1"),
        (Usage(0, -1), "output_tokens=-1"),
        (Usage(5, 0, cached_input_tokens=-1), "cached_input_tokens=-1"),
        (Usage(5, 0, cache_write_tokens=-1), "cache_write_tokens=-1"),
        (Usage(5, 5, reasoning_tokens=-1), "reasoning_tokens=-1"),
        (Usage(5, 0, cached_input_tokens=6), "cached_input_tokens=6"),
        (Usage(5, 0, cache_write_tokens=6), "cache_write_tokens=6"),
        (Usage(5, 0, cached_input_tokens=3, cache_write_tokens=3), "input_tokens=5"),
        (Usage(5, 5, reasoning_tokens=6), "reasoning_tokens=6"),
        (Usage(1.5, 0), "input_tokens=1.5"),  # type: ignore[arg-type]
        (Usage(5, True), "output_tokens=True"),
        (Usage(5, "3"), "output_tokens='3'"),  # type: ignore[arg-type]
        (Usage(5, None), "output_tokens=None"),  # type: ignore[arg-type]
    ],
)
def test_tokens_that_cannot_be(usage: Usage, words: str) -> None:
    """The field is named, known model or not."""
    for model in ("o3", "no-such-model"):
        with pytest.raises(ValueError, match="tokens") as caught:
            price(usage, model=model, lane="flex")
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("model", "day", "first"),
    [
        ("o3", date(2025, 4, 15), "2025-04-16"),
        ("o3-2025-04-16", date(2025, 4, 15), "2025-04-16"),
        ("ft:o4-mini-2025-04-16:org::id", date(2025, 4, 15), "2025-04-16"),
        ("gpt-5", date(2025, 8, 6), "2025-08-07"),
        ("gpt-6-sol", date(2026, 9, 21), "2026-09-22"),
        ("gpt-6.1-terra", date(2026, 10, 25), "2026-10-26"),
        ("gemini-2.5-flash", date(2025, 4, 17), "2025-06-17"),
    ],
)
def test_before_the_model_existed(model: str, day: date, first: str) -> None:
    """It is an error that names the day; on the first day there is a price."""
    skip_if_too_new(model)
    with pytest.raises(ValueError, match=f"{first}: at={day}"):
        price(SMALL, model=model, lane="standard", at=day)
    cost = price(SMALL, model=model, lane="standard", at=date.fromisoformat(first))
    assert cost.basis == "exact"


def test_what_is_no_day() -> None:
    """Text is not a time: the argument is named."""
    with pytest.raises(TypeError, match="at='2026-01-01'"):
        price(SMALL, model="o3", lane="flex", at="2026-01-01")  # type: ignore[arg-type]


def test_a_vendor_that_there_is_none_of() -> None:
    """A misspelt vendor is an error, not an unknown price."""
    with pytest.raises(ValueError, match="provider='opnai'"):
        price(SMALL, model="o3", lane="flex", provider="opnai")


@pytest.mark.parametrize("lane", ["auto", "background"])
def test_a_name_for_several_lanes(lane: str) -> None:
    """It was not billed: priced as standard, it would be wrong in silence."""
    with pytest.raises(ValueError, match=f"lane='{lane}' stands for several lanes"):
        price(SMALL, model="o3", lane=lane, at=AUTUMN)
    with pytest.raises(ValueError, match=f"lane='{lane}' stands for several lanes"):
        PriceBook(rates={"o3": {lane: {"input": "1", "output": "4"}}})


def test_days_are_utc() -> None:
    """A time without a zone is UTC; one with a zone is on the day it is there."""
    before, after = Decimal("10"), Decimal("2")  # o3's input, cut on 10 June 2025
    west = timezone(timedelta(hours=-7))
    for at, rate in (
        (date(2025, 6, 9), before),
        (date(2025, 6, 10), after),
        (datetime(2025, 6, 9, 23, 59), before),
        (datetime(2025, 6, 10, 0, 0), after),
        (datetime(2025, 6, 9, 16, 59, tzinfo=west), before),
        (datetime(2025, 6, 9, 17, 0, tzinfo=west), after),
    ):
        assert price(Usage(1_000_000, 0), model="o3", lane="standard", at=at).total == rate


def test_now_is_the_default() -> None:
    """Without a day it is today's price."""
    today = datetime.now(timezone.utc)
    assert price(SMALL, model="o3", lane="flex") == price(SMALL, model="o3", lane="flex", at=today)


def test_prices_by_the_hour() -> None:
    """A vendor's off-peak hours are not taken for the whole day's price."""
    day = datetime(2026, 11, 1, tzinfo=timezone.utc)
    hours = [
        price(SMALL, model="deepseek-chat", lane="standard", at=day + timedelta(hours=hour)).total
        for hour in (12, 20, 12)
    ]
    assert hours[0] == hours[2]
    assert hours[0] != hours[1]


def test_charges_that_no_usage_counts() -> None:
    """A model with other charges than these tokens is an estimate that says so."""
    cost = price(SMALL, model="perplexity/sonar-deep-research", lane="standard", at=AUTUMN)
    assert cost.basis == "estimated"
    assert cost.reason is not None
    assert "reasoning" in cost.reason


def test_what_is_remembered_is_bounded() -> None:
    """A process that prices ever new names does not grow."""
    book = PriceBook()
    for number in range(_MAX_CACHED_SHEETS + 10):
        book.price(SMALL, model=f"{number}", lane="flex", at=AUTUMN)
    assert len(book._cache[1]) <= _MAX_CACHED_SHEETS


def test_newer_prices_are_used() -> None:
    """A program that updates genai-prices' list is priced by the new one, and not by a memory."""
    assert price(SMALL, model="o3", lane="standard", at=AUTUMN).total == O3_STANDARD
    cheap = ModelInfo(
        id="o3",
        match=ClauseEquals("o3"),
        prices=ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(1)),
    )
    vendor = Provider(id="openai", name="OpenAI", api_pattern="", models=[cheap])
    set_custom_snapshot(DataSnapshot(providers=[vendor], from_auto_update=True))
    try:
        updated = price(SMALL, model="o3", lane="standard", at=AUTUMN).total
    finally:
        set_custom_snapshot(None)
    assert updated == Decimal(1) * 120_000 / 1_000_000
    assert price(SMALL, model="o3", lane="standard", at=AUTUMN).total == O3_STANDARD


def test_a_cost_as_json() -> None:
    """Money travels as plain digits."""
    as_dict = price(CACHED, model="o3", lane="flex", at=AUTUMN).to_dict()
    assert json.loads(json.dumps(as_dict)) == {
        "model": "o3",
        "lane": "flex",
        "basis": "exact",
        "reason": None,
        "priced_as": "openai/o3",
        "rates": {"input": "1", "output": "4", "cached_input": "0.25", "cache_write": "1"},
        "input": "0.04",
        "cached_input": "0.015",
        "cache_write": "0",
        "output": "0.08",
        "total": "0.135",
        "standard": "0.27",
        "saved": "0.135",
    }
    tiny = price(Usage(1, 0), model="gpt-6-luna", lane="flex", at=AUTUMN).to_dict()
    assert tiny["total"] == "0.00000005"
    large = price(Usage(1, 10**9), model="o3", lane="flex", at=AUTUMN).to_dict()
    assert large["output"] == "4000"
    assert price(SMALL, model="?", lane="flex").to_dict()["total"] is None


def test_values_are_values() -> None:
    """Costs and rates compare by value and cannot be changed."""
    one, two = (price(SMALL, model="o3", lane="flex", at=AUTUMN) for _ in range(2))
    assert one == two
    assert hash(one) == hash(two)
    assert isinstance(one, Cost)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.basis = "estimated"  # type: ignore[misc]
    assert Rates.of("1", "2") == Rates(Decimal(1), Decimal(2), Decimal(1), Decimal(1))


def test_the_public_names() -> None:
    """What is listed is there, and documented."""
    assert costs.__all__ == sorted(costs.__all__)
    assert dir(costs) == costs.__all__
    for name in set(costs.__all__) - {"Basis"}:
        assert getattr(costs, name).__doc__
    with pytest.raises(AttributeError, match="prize"):
        _ = costs.prize  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "code",
    [
        "import flextier",
        "import flextier.costs",
        "from flextier.costs import PriceBook, Usage, price; PriceBook(aliases={'a': 'o3'})",
        "from flextier.cli import main\ntry: main(['prices', '--help'])\nexcept SystemExit: pass",
    ],
)
def test_the_price_list_is_loaded_for_the_first_price(code: str) -> None:
    """Nothing that asks for no price pays for a list of them."""
    code += "\nimport sys; assert not any(name.startswith('genai_prices') for name in sys.modules)"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, capture_output=True)
