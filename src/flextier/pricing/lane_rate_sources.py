"""Where each lane's rates are listed, and since when; shares of standard are the lanes' own.

The discounts themselves are ``Lane.price_share`` in ``flextier.lanes``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from flextier.lanes.registry import LANES


@dataclass(frozen=True, slots=True)
class LaneRateSource:
    """Where a lane's rates are listed, and its price where they are not."""

    price_context: Mapping[str, str]
    """The ``price_context`` that selects its rates in genai-prices."""
    share: Decimal | None = None
    """Its price as a share of OpenAI's standard price, for days before its first listed rate. None:
    without a listed rate it has no price."""
    since: date | None = None
    """The day OpenAI began to sell it."""
    all_models_source: str | None = None
    """Where OpenAI says that the discount applies to every model: then no rate of the lane has to
    be listed. None: it applies only to models that have a listed rate for the lane."""


FULL_PRICE_LANES = frozenset({"background-soonest"})
"""Lanes at the standard price: the table of windows shows no discount for them.
https://developers.openai.com/api/docs/guides/background"""

_BACKGROUND_GUIDE = "https://developers.openai.com/api/docs/guides/background"
# The windows came with GPT-6.2, whose page names them: on 6 November 2026 the guide had none.
_WINDOWS_SINCE = date(2026, 11, 17)


def _background(window: str) -> LaneRateSource:
    # 30% and 40% below Standard: "The discount applies to model token rates on each eligible
    # request", those of cached input and cache writes among them.
    share = LANES[f"background-{window}"].price_share
    return LaneRateSource({"completion_window": window}, share, _WINDOWS_SINCE, _BACKGROUND_GUIDE)


LANE_RATE_SOURCES: Mapping[str, LaneRateSource] = {
    # https://developers.openai.com/api/docs/guides/flex-processing: tokens cost what Batch costs.
    "flex": LaneRateSource({"service_tier": "flex"}, LANES["flex"].price_share, date(2025, 4, 17)),
    # https://developers.openai.com/api/docs/guides/batch: half of the standard price.
    "batch": LaneRateSource({"processing": "batch"}, LANES["batch"].price_share, date(2024, 4, 15)),
    "background-2h": _background("2h"),
    "background-8h": _background("8h"),
    "priority": LaneRateSource({"service_tier": "priority"}),
    "fast": LaneRateSource(
        {"service_tier": "fast"}
    ),  # another name under which priority is requested
}
"""The lanes with rates of their own, besides standard."""

DISCOUNTED_WINDOWS = ("background-2h", "background-8h")
"""The discounted completion windows of background responses."""
