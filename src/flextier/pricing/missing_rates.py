"""Models, lanes and parts that the price list has no rate for: an estimate, or no price.

An estimate follows a published rule, and its reason names the missing rate and the rule. Without a
rule the cost is unpriced, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from flextier.pricing.lane_rate_sources import LANE_RATE_SOURCES, LaneRateSource
from flextier.pricing.rate_sheet import RateBand, RateSheet, unpriced
from flextier.pricing.rates import Rates

if TYPE_CHECKING:
    from flextier.pricing.price_list import PriceListEntry

CUSTOM = "the price book"
"""What sheets of custom rates are ``priced_as``."""

# Vendors that bill cached input on batch at the standard cached rate unless they list another
# (https://ai.google.dev/gemini-api/docs/pricing). OpenAI does not: "Discounting for Prompt Caching
# is not available on the Batch API" (its prompt-caching guide, of models whose batch table has no
# cached rate).
_CACHE_DISCOUNT_ON_BATCH = frozenset({"google"})


def unlisted_model(model: str, target: str, lane: str, custom: Mapping[str, Rates]) -> RateSheet:
    """The rates of a model without an entry in the price list: custom ones, or none.

    Args:
        model: the name that the caller uses for it.
        target: the model that an alias stands for, or the same name.
        lane: the lane's name.
        custom: the price book's rates of the model, by lane.
    """
    if lane in custom:
        band = RateBand(0, custom[lane], custom.get("standard"))
        return RateSheet(model, lane, (band,), CUSTOM)
    if custom:
        return unpriced(model, lane, f"the price book has no {lane} rates of {model}")
    return unpriced(model, lane, f"no price of a model {target!r} is listed")


def without_lane_rates(
    entry: PriceListEntry, lane: str, moment: datetime, bands: tuple[RateBand, ...]
) -> tuple[RateBand, ...]:
    """Standard bands, changed to those of a lane without listed rates.

    OpenAI's discount applies if it is for all models, or if the model has a rate on a later day;
    otherwise the lane has no price.
    """
    discount = LANE_RATE_SOURCES[lane]
    missing = _not_listed(entry, lane, discount)
    for_all_models = discount.all_models_source is not None
    is_sold = for_all_models or entry.tier_since(discount.price_context) is not None
    if discount.share is None or discount.since is None or entry.vendor != "openai" or not is_sold:
        return tuple(band.unpriced(missing) for band in bands)
    if moment.date() < discount.since:
        return tuple(band.unpriced(_not_sold_yet(lane, discount)) for band in bands)
    reason = f"{missing}: {_estimated_as(discount)}"
    discounted = tuple(_discounted(band, discount.share, reason) for band in bands)
    if for_all_models or "cached_input" in entry.tier_parts(discount.price_context):
        return discounted
    # The rates listed for it today have no cached input: there never was a discount for it.
    return tuple(_without_cache_discount(band, lane) for band in discounted)


def prompt_length_without_rate(entry: PriceListEntry, lane: str, band: RateBand) -> RateBand:
    """The band of prompts so long that only standard has a rate for them."""
    missing = f"no {lane} rate of {entry.name} above {band.above} input tokens is listed"
    discount = LANE_RATE_SOURCES[lane]
    if discount.share is None or entry.vendor != "openai":
        return band.unpriced(missing)
    return _discounted(band, discount.share, f"{missing}: {_estimated_as(discount)}")


def part_without_rate(
    entry: PriceListEntry, lane: str, part: str, rates: Rates, standard: Rates
) -> tuple[Rates, str]:
    """A lane's rates with an estimate for ``part`` of a cost, and the reason."""
    missing = f"no {lane} rate of {part.replace('_', ' ')} is listed for {entry.name}"
    if part == "cached_input" and lane == "batch" and entry.vendor in _CACHE_DISCOUNT_ON_BATCH:
        rates = replace(rates, cached_input=standard.cached_input)
        return rates, f"{missing}: taken as standard's"
    discount = LANE_RATE_SOURCES[lane]
    if discount.all_models_source and discount.share is not None and entry.vendor == "openai":
        rate = getattr(standard.times(discount.share), part)
        return replace(rates, **{part: rate}), f"{missing}: {_estimated_as(discount)}"
    return rates, f"{missing}: taken as that of input"


def discounted_custom_rates(
    standard: Rates, model: str, lane: str, entry: PriceListEntry | None, moment: datetime
) -> RateSheet | None:
    """A lane's rates as OpenAI's discount on custom standard rates.

    Args:
        standard: the price book's standard rates of the model.
        model: the name that the caller uses for it.
        lane: the lane's name; the price book has no rates for it.
        entry: the model's entry in the public list. None: it has none, and the model is taken to be
            OpenAI's, since it was billed on the lane.
        moment: the time of the call.

    Returns:
        The rates. None: the lane has no discount for all models, or the public list has a rate.
    """
    discount = LANE_RATE_SOURCES.get(lane)
    if discount is None or not discount.all_models_source:
        return None
    if discount.share is None or discount.since is None:
        return None
    if entry is not None and (
        entry.vendor != "openai" or entry.tier_rates(discount.price_context, moment) is not None
    ):
        return None
    if moment.date() < discount.since:
        return unpriced(model, lane, _not_sold_yet(lane, discount), CUSTOM)
    reason = f"the price book has no {lane} rates of {model}: {_estimated_as(discount)}"
    band = RateBand(0, standard.times(discount.share), standard, reason)
    return RateSheet(model, lane, (band,), CUSTOM)


def _not_listed(entry: PriceListEntry, lane: str, discount: LaneRateSource) -> str:
    since = entry.tier_since(discount.price_context)
    if since is None or entry.fine_tuned_rates is not None:
        return f"no {lane} rate of {entry.name} is listed"
    return f"no {lane} rate of {entry.name} is listed before {since}"


def _not_sold_yet(lane: str, discount: LaneRateSource) -> str:
    return f"{lane} was not sold before {discount.since}"


def _estimated_as(discount: LaneRateSource) -> str:
    source = f" ({discount.all_models_source})" if discount.all_models_source else ""
    return f"taken as {discount.share} of standard{source}"


def _discounted(band: RateBand, share: Decimal, reason: str) -> RateBand:
    rates = band.standard and band.standard.times(share)
    return replace(band, rates=rates, reason="; ".join(filter(None, (band.reason, reason))))


def _without_cache_discount(band: RateBand, lane: str) -> RateBand:
    if band.rates is None or band.rates.cached_input == band.rates.input:
        return band
    reason = f"{lane} is taken to have no discount for cached input"
    return replace(
        band,
        rates=replace(band.rates, cached_input=band.rates.input),
        estimated_parts={**band.estimated_parts, "cached_input": reason},
    )
