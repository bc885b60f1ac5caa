"""How each lane is priced: which rates of the price list apply, and from when its share holds.

The shares themselves stand in ``flextier.lanes``, as ``Lane.price_share``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from flextier.lanes.registry import LANES


@dataclass(frozen=True, slots=True)
class LaneDiscount:
    """How one lane is sold."""

    context: Mapping[str, str]
    """The ``price_context`` that selects its rates in genai-prices."""
    share: Decimal | None = None
    """Its share of OpenAI's standard price, for days before the first rate that genai-prices has.
    None: there is no such rule, and what is not listed is not known."""
    since: date | None = None
    """The day OpenAI began to sell it."""
    general: str | None = None
    """Where OpenAI says that the share is of every model token rate: then it holds for any of its
    models, no rate of the lane has to be listed. None: it holds for models that have one listed."""


LIST_PRICED = frozenset({"background-soonest"})
"""Lanes that cost what standard does: https://developers.openai.com/api/docs/guides/background, its
table of windows: no discount."""

_BACKGROUND = "https://developers.openai.com/api/docs/guides/background"
# The windows came with GPT-6.2, whose page names them: on 6 November 2026 the guide had none.
_WINDOWS = date(2026, 11, 17)

TERMS: Mapping[str, LaneDiscount] = {
    # https://developers.openai.com/api/docs/guides/flex-processing: tokens cost what Batch costs.
    "flex": LaneDiscount(
        {"service_tier": "flex"}, share=LANES["flex"].price_share, since=date(2025, 4, 17)
    ),
    # https://developers.openai.com/api/docs/guides/batch: half of the standard price.
    "batch": LaneDiscount(
        {"processing": "batch"}, share=LANES["batch"].price_share, since=date(2024, 4, 15)
    ),
    # 30% and 40% below Standard: "The discount applies to model token rates on each eligible
    # request", those of cached input and cache writes among them.
    "background-2h": LaneDiscount(
        {"completion_window": "2h"},
        share=LANES["background-2h"].price_share,
        since=_WINDOWS,
        general=_BACKGROUND,
    ),
    "background-8h": LaneDiscount(
        {"completion_window": "8h"},
        share=LANES["background-8h"].price_share,
        since=_WINDOWS,
        general=_BACKGROUND,
    ),
    "priority": LaneDiscount({"service_tier": "priority"}),
    "fast": LaneDiscount({"service_tier": "fast"}),  # what priority is called when it is asked for
}
"""The lanes that have rates of their own, by name, beside standard."""

WINDOWS = tuple(lane for lane, terms in TERMS.items() if "completion_window" in terms.context)
"""The discounted windows of background responses."""
