"""What the vendors published and genai-prices 0.2 does not have, each with its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from flextier.pricing.rates import Rates

FINE_TUNED: Mapping[str, Rates] = {
    "gpt-4.1": Rates.of("3", "12", cached_input="0.75"),
    "gpt-4.1-mini": Rates.of("0.80", "3.20", cached_input="0.20"),
    "gpt-4.1-nano": Rates.of("0.20", "0.80", cached_input="0.05"),
    "gpt-4o": Rates.of("3.75", "15", cached_input="1.875"),
    "gpt-4o-mini": Rates.of("0.30", "1.20", cached_input="0.15"),
    "o4-mini": Rates.of("4", "16", cached_input="1"),
}
"""Standard rates of models fine-tuned from these, not shared with OpenAI: a dearer list than that
of the models themselves. https://developers.openai.com/api/docs/pricing, fine-tuning"""


@dataclass(frozen=True, slots=True)
class MissingModel:
    """What a model costs that genai-prices does not list."""

    rates: Rates
    """Its standard rates."""
    long_above: int
    """The input tokens above which a whole request costs ``long_rates``."""
    long_rates: Rates
    shares: Mapping[str, Decimal]
    """Its price on other lanes, as a share of standard, by the vendor's word."""
    doubts: Mapping[str, str] = field(default_factory=dict)
    """Why the rate of a part of a cost is estimated."""


_LONG = 272_000

NEWER: Mapping[str, MissingModel] = {
    # https://developers.openai.com/api/docs/models/gpt-6.2-sol: above 272K input tokens "input and
    # cache rates double and output costs 1.5 times the short-context rate for the full request";
    # "Batch costs 50% of Standard rates. Fast mode costs twice the Standard rate". No flex, by
    # https://developers.openai.com/api/docs/guides/flex-processing. The write to a cache is that
    # for 30 minutes: one for 12 hours costs twice that, and a usage does not distinguish them.
    "gpt-6.2-sol": MissingModel(
        Rates.of("2", "10", cached_input="0.10", cache_write="2.50"),
        _LONG,
        Rates.of("4", "15", cached_input="0.20", cache_write="5"),
        {"batch": Decimal("0.5"), "priority": Decimal(2), "fast": Decimal(2)},
    ),
    # https://developers.openai.com/api/docs/models: 8 and 40. Batch: its guide. Long requests: as
    # all since GPT-5.4. Writes to a cache: 1.25 times input since GPT-5.6,
    # https://developers.openai.com/api/docs/guides/prompt-caching. Cached input: 60% below
    # gpt-6-astra's 1.00, by https://github.com/BerriAI/litellm/discussions/52347 and
    # https://docs.apiyi.com/en/news/gpt-6-2-astra-sol-launch.md; 5% of input, as gpt-6.2-sol's.
    "gpt-6.2-astra": MissingModel(
        Rates.of("8", "40", cached_input="0.40", cache_write="10"),
        _LONG,
        Rates.of("16", "60", cached_input="0.80", cache_write="20"),
        {"batch": Decimal("0.5")},
        {
            "cached_input": "cached input of openai/gpt-6.2-astra is taken as 0.05 of input, as "
            "resellers report"
        },
    ),
}
"""Models of OpenAI's that genai-prices does not list; what it lists later counts instead."""

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
"""When models were first sold whose names do not say: no snapshot of theirs has a date in its
name. https://developers.openai.com/api/docs/changelog, https://ai.google.dev/gemini-api/docs/changelog"""

CACHED_INPUT_UNTIL: Mapping[str, tuple[date, Decimal]] = {
    # https://openai.com/index/introducing-o3-and-o4-mini/: 10 in, 2.50 cached, 40 out, until all
    # three were cut to a fifth. genai-prices has the later cached rate on both sides of that day.
    "openai/o3": (date(2025, 6, 10), Decimal("2.50")),
}
"""Rates of cached input that held until a day, where genai-prices has another."""

CACHE_DISCOUNT_ON_BATCH = frozenset({"google"})
"""Vendors that bill input from a cache at their standard cached rate on batch, where they list no
other (https://ai.google.dev/gemini-api/docs/pricing). OpenAI does not: "Discounting for Prompt
Caching is not available on the Batch API" (its prompt-caching guide, of models whose batch table
has no cached rate)."""

REMARKS: Mapping[str, str] = {
    "google/gemini-2.5-flash-preview": "output of a thinking model was billed at 3.50, not 0.60",
}
"""What one rate for output cannot express."""
