"""Models and rates that we add to the price list, because genai-prices 0.2 lacks them.

Each has its source. A model is looked up here only where the list has no entry for it: once the
list has one, that entry counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal

from genai_prices.types import (
    ClauseEquals,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    Provider,
    Tier,
    TieredPrices,
)

from flextier.lanes import BATCH, FAST, PRIORITY, Lane
from flextier.pricing.rates import Rates

CHECKED = date(2026, 11, 28)
"""The day on which these rates were last compared with their sources."""

FINE_TUNED: Mapping[str, Rates] = {
    "gpt-4.1": Rates.of("3", "12", cached_input="0.75"),
    "gpt-4.1-mini": Rates.of("0.80", "3.20", cached_input="0.20"),
    "gpt-4.1-nano": Rates.of("0.20", "0.80", cached_input="0.05"),
    "gpt-4o": Rates.of("3.75", "15", cached_input="1.875"),
    "gpt-4o-mini": Rates.of("0.30", "1.20", cached_input="0.15"),
    "o4-mini": Rates.of("4", "16", cached_input="1"),
}
"""Standard rates of models that were fine-tuned from these, without sharing data with OpenAI. They
are higher than those of the base models (https://developers.openai.com/api/docs/pricing,
fine-tuning)."""


# A request with more input tokens than this is billed at higher rates as a whole: "input and cache
# rates double and output costs 1.5 times the short-context rate for the full request".
_LONG_PROMPT = 272_000
_LONG = {"output": Decimal("1.5")}


def _missing(name: str, rates: Rates, lanes: Mapping[Lane, int | Decimal | None]) -> ModelInfo:
    """The entry of a model: its standard rates, and other lanes that its page prices, as a share of
    standard."""

    def prices(share: int | Decimal | None) -> ModelPrice:
        short = rates.times(Decimal(share or 1))

        def price(part: str) -> TieredPrices:
            rate = getattr(short, part)
            return TieredPrices(rate, [Tier(_LONG_PROMPT, rate * _LONG.get(part, 2))])

        return ModelPrice(
            input_mtok=price("input"),
            output_mtok=price("output"),
            cache_read_mtok=price("cached_input"),
            cache_write_mtok=price("cache_write"),
        )

    variants = [PriceVariant(dict(x.price.listed_as), prices(share)) for x, share in lanes.items()]
    return ModelInfo(id=name, match=ClauseEquals(name), prices=prices(1), price_variants=variants)


_ENTRIES = (
    # https://developers.openai.com/api/docs/models/gpt-6.2-sol: "Batch costs 50% of Standard rates.
    # Fast mode costs twice the Standard rate". No flex, by
    # https://developers.openai.com/api/docs/guides/flex-processing. The write to a cache is that
    # for 30 minutes: one for 12 hours costs twice that, and a usage does not distinguish them.
    _missing(
        "gpt-6.2-sol",
        Rates.of("2", "10", cached_input="0.10", cache_write="2.50"),
        {BATCH: BATCH.price.share, PRIORITY: 2, FAST: 2},
    ),
    # https://developers.openai.com/api/docs/models: 8 and 40. Batch: its guide. Long requests: as
    # all since GPT-5.4. Writes to a cache: 1.25 times input since GPT-5.6,
    # https://developers.openai.com/api/docs/guides/prompt-caching. Cached input: 60% below
    # gpt-6-astra's 1.00, by https://github.com/BerriAI/litellm/discussions/52347 and
    # https://docs.apiyi.com/en/news/gpt-6-2-astra-sol-launch.md; 5% of input, as gpt-6.2-sol's.
    _missing(
        "gpt-6.2-astra",
        Rates.of("8", "40", cached_input="0.40", cache_write="10"),
        {BATCH: BATCH.price.share},
    ),
)

MISSING_MODELS: Mapping[str, ModelInfo] = {entry.id: entry for entry in _ENTRIES}
"""Models of OpenAI that genai-prices does not list, by name."""

ESTIMATED_PARTS: Mapping[str, Mapping[str, str]] = {
    "gpt-6.2-astra": {
        "cached_input": "cached input of openai/gpt-6.2-astra is taken as 0.05 of input, as "
        "resellers report"
    }
}
"""Parts of a cost whose rate in ``MISSING_MODELS`` is an estimate, each with the reason."""

FIRST_SOLD: Mapping[str, date] = {
    "google/gemini-2.5-flash": date(2025, 6, 17),
    "openai/gpt-5-nano": date(2025, 8, 7),
    "openai/gpt-5.6-luna": date(2026, 7, 9),
    "openai/gpt-5.6-sol": date(2026, 7, 9),
    "openai/gpt-5.6-terra": date(2026, 7, 9),
    "openai/gpt-6-astra": date(2026, 9, 3),
    "openai/gpt-6-luna": date(2026, 9, 22),
    "openai/gpt-6-sol": date(2026, 9, 22),
    "openai/gpt-6.1-sol": date(2026, 9, 29),
    "openai/gpt-6.1-terra": date(2026, 10, 26),
    "openai/gpt-6.2-astra": date(2026, 11, 17),
    "openai/gpt-6.2-sol": date(2026, 11, 17),
}
"""Release dates of models that have no snapshot with a date in its name:
https://developers.openai.com/api/docs/changelog, https://ai.google.dev/gemini-api/docs/changelog"""

CACHED_INPUT_UNTIL: Mapping[str, tuple[date, Decimal]] = {
    # https://openai.com/index/introducing-o3-and-o4-mini/: 10 in, 2.50 cached, 40 out, until all
    # three were cut to a fifth. genai-prices has the later cached rate on both sides of that day.
    "openai/o3": (date(2025, 6, 10), Decimal("2.50")),
}
"""Rates of cached input that applied until a day, where genai-prices has a later rate."""

UNCOUNTED_CHARGES: Mapping[str, str] = {
    "google/gemini-2.5-flash-preview": "output of a thinking model was billed at 3.50, not 0.60",
}
"""Charges that a single rate for output cannot express."""


def find_added(vendor: Provider, name: str) -> ModelInfo | None:
    """Our entry for a model that ``vendor`` sells or resells; None if we have none."""
    if "openai" in (vendor.id, *(vendor.fallback_model_providers or ())):
        return MISSING_MODELS.get(name.lower())
    return None
