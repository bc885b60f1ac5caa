"""How each lane is sold: where its rates are found, and what it cost before they were written down.

A lane that costs a share of standard by its vendor's word needs a line here and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Terms:
    """How one lane is sold."""

    context: Mapping[str, str]
    """The ``price_context`` that selects its rates in genai-prices."""
    share: Decimal | None = None
    """Its share of OpenAI's standard price, for days before the first rate that genai-prices has.
    None: there is no such rule, and what is not listed is not known."""
    since: date | None = None
    """The day OpenAI began to sell it."""


_HALF = Decimal("0.5")

TERMS: Mapping[str, Terms] = {
    # https://developers.openai.com/api/docs/guides/flex-processing: tokens cost what Batch costs.
    "flex": Terms({"service_tier": "flex"}, share=_HALF, since=date(2025, 4, 17)),
    # https://developers.openai.com/api/docs/guides/batch: half of the standard price.
    "batch": Terms({"processing": "batch"}, share=_HALF, since=date(2024, 4, 15)),
    "priority": Terms({"service_tier": "priority"}),
    "fast": Terms({"service_tier": "fast"}),  # what priority is called when it is asked for
}
"""The lanes that have rates of their own, by name, beside standard."""
