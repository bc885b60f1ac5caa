"""genai-prices answers with the standard price where it has no rate for a tier; we do not.

Each test asks genai-prices itself first: on the day its answer is no longer silent, it fails, and
the rule that stands in for the missing rate can go.
"""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal

import genai_prices
import pytest
from genai_prices.data import providers
from genai_prices.types import ModelInfo

from flextier.costs import Usage, price
from flextier.pricing.price_list_additions import MISSING_MODELS

pytestmark = pytest.mark.usefixtures("no_network")

OPENAI = next(provider for provider in providers if provider.id == "openai")
AUTUMN = datetime(2026, 11, 1, tzinfo=timezone.utc)
WINTER = datetime(2026, 12, 1, tzinfo=timezone.utc)
SUMMER = datetime(2026, 9, 30, tzinfo=timezone.utc)
SMALL = Usage(100_000, 20_000)
CONTEXTS = {
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "batch": {"processing": "batch"},
    "background-2h": {"completion_window": "2h"},
    "background-8h": {"completion_window": "8h"},
}
TIERS = ("flex", "priority", "batch")


def genai(usage: Usage, model: str, lane: str, at: datetime, vendor: str = "openai") -> Decimal:
    """What genai-prices says."""
    counted = genai_prices.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cached_input_tokens,
        cache_write_tokens=usage.cache_write_tokens,
    )
    return genai_prices.calc_price(
        counted,
        model,
        provider_id=vendor,
        genai_request_timestamp=at,
        price_context=CONTEXTS.get(lane),
    ).total_price


def has(model: ModelInfo, lane: str) -> bool:
    """Whether genai-prices lists a rate for a lane, on any day."""
    return any(variant.when == CONTEXTS[lane] for variant in model.price_variants or ())


def by_the_token(model: ModelInfo) -> bool:
    """Whether it is sold by input and output tokens."""
    prices = model.get_prices(AUTUMN)
    return prices.input_mtok is not None and prices.output_mtok is not None


MODELS = [model for model in OPENAI.models if by_the_token(model) and ":" not in model.id]
WITHOUT = [(model.id, lane) for lane in TIERS for model in MODELS if not has(model, lane)]
WITH = [(model.id, lane) for lane in TIERS for model in MODELS if has(model, lane)]


@pytest.mark.parametrize(("model", "lane"), WITHOUT)
def test_a_lane_that_is_not_listed(model: str, lane: str) -> None:
    """Standard, says genai-prices; unpriced, say we."""
    assert genai(SMALL, model, lane, AUTUMN) == genai(SMALL, model, "standard", AUTUMN)
    cost = price(SMALL, model=model, lane=lane, at=AUTUMN, provider="openai")
    assert (cost.basis, cost.total) == ("unpriced", None)


@pytest.mark.parametrize(("model", "lane"), WITH)
def test_a_lane_that_is_listed(model: str, lane: str) -> None:
    """Where genai-prices knows, we say what it says."""
    cost = price(SMALL, model=model, lane=lane, at=AUTUMN, provider="openai")
    assert cost.basis == "exact"
    assert cost.total == genai(SMALL, model, lane, AUTUMN)
    assert cost.standard == genai(SMALL, model, "standard", AUTUMN)


@pytest.mark.parametrize("model", ["o3", "o4-mini", "gpt-5", "gpt-5.4", "gpt-5.6-sol", "gpt-6-sol"])
@pytest.mark.parametrize("lane", ["flex", "batch"])
def test_a_day_before_the_first_rate(model: str, lane: str) -> None:
    """Standard, says genai-prices; half of it, say we, and that it is a rule."""
    standard = genai(SMALL, model, "standard", SUMMER)
    assert genai(SMALL, model, lane, SUMMER) == standard
    cost = price(SMALL, model=model, lane=lane, at=SUMMER)
    assert (cost.basis, cost.total, cost.standard) == ("estimated", standard / 2, standard)


@pytest.mark.parametrize("model", ["o3", "o4-mini", "gpt-4.1", "gpt-4o", "o3-mini"])
def test_a_part_that_is_not_listed(model: str) -> None:
    """Cached input on batch: at standard's cached rate, says genai-prices, although OpenAI gives
    no such discount there. We count it as input, and say that this is a rule."""
    cached = Usage(100_000, 0, cached_input_tokens=100_000)
    assert genai(cached, model, "batch", AUTUMN) == genai(cached, model, "standard", AUTUMN)
    cost = price(cached, model=model, lane="batch", at=AUTUMN)
    assert cost.basis == "estimated"
    assert cost.total == genai(Usage(100_000, 0), model, "batch", AUTUMN)
    assert price(SMALL, model=model, lane="batch", at=AUTUMN).basis == "exact"


def test_long_prompts_on_a_lane_listed_for_short_ones() -> None:
    """The short rate, says genai-prices: a quarter of standard."""
    long = Usage(300_000, 10_000)
    standard = genai(long, "gpt-5.5-pro", "standard", AUTUMN)
    assert genai(long, "gpt-5.5-pro", "flex", AUTUMN) < standard / 2
    cost = price(long, model="gpt-5.5-pro", lane="flex", at=AUTUMN)
    assert (cost.basis, cost.total) == ("estimated", standard / 2)


def test_a_reseller() -> None:
    """Azure has OpenAI's models and no flex: standard, says genai-prices."""
    flex = genai(SMALL, "o3", "flex", AUTUMN, vendor="azure")
    assert flex == genai(SMALL, "o3", "standard", AUTUMN, vendor="azure")
    assert price(SMALL, model="o3", lane="flex", at=AUTUMN, provider="azure").basis == "unpriced"


@pytest.mark.parametrize(("lane", "share"), [("background-2h", "0.7"), ("background-8h", "0.6")])
def test_windows_are_not_listed(lane: str, share: str) -> None:
    """Standard, says genai-prices of every model; a share of it, say we, and that it is a rule."""
    assert not any(has(model, lane) for model in MODELS)
    standard = genai(SMALL, "gpt-6.1-terra", "standard", WINTER)
    assert genai(SMALL, "gpt-6.1-terra", lane, WINTER) == standard
    cost = price(SMALL, model="gpt-6.1-terra", lane=lane, at=WINTER)
    assert (cost.basis, cost.total) == ("estimated", standard * Decimal(share))


@pytest.mark.parametrize("model", sorted(MISSING_MODELS))
def test_models_that_are_not_listed(model: str) -> None:
    """No price, says genai-prices; the vendor's, say we."""
    with pytest.raises(LookupError):
        genai(SMALL, model, "standard", WINTER)
    assert price(SMALL, model=model, lane="standard", at=WINTER).basis == "exact"


def test_listed_without_a_difference() -> None:
    """A lane that is listed at standard's own rates is exact."""
    cost = price(SMALL, model="gpt-3.5-turbo-1106", lane="batch", at=AUTUMN)
    assert (cost.basis, cost.saved) == ("exact", 0)


def test_a_cached_rate_that_came_later() -> None:
    """o3's cached input was 2.50 until June 2025, and is 0.50 in genai-prices all along."""
    spring = datetime(2025, 5, 1, tzinfo=timezone.utc)
    cached = Usage(1_000_000, 0, cached_input_tokens=1_000_000)
    assert genai(cached, "o3", "standard", spring) == Decimal("0.50")
    assert price(cached, model="o3", lane="standard", at=spring).total == Decimal("2.50")
