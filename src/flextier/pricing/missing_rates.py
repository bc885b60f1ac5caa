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

from flextier.lanes import STANDARD, Lane
from flextier.lanes.price_rule import PriceRule
from flextier.pricing.rate_sheet import RateBand, RateSheet, unpriced
from flextier.pricing.rates import Rates

if TYPE_CHECKING:
    from flextier.pricing.price_list import PriceListEntry

CUSTOM = "the price book"
"""What sheets of custom rates are ``priced_as``."""


def unlisted_model(model: str, target: str, lane: Lane, custom: Mapping[str, Rates]) -> RateSheet:
    """The rates of a model without an entry in the price list: custom ones, or none.

    ``target`` is the model that an alias stands for; ``custom`` has the price book's rates.
    """
    if lane.name in custom:
        band = RateBand(0, custom[lane.name], custom.get(STANDARD.name))
        return RateSheet(model, lane.name, (band,), CUSTOM)
    if custom:
        return unpriced(model, lane.name, f"the price book has no {lane.name} rates of {model}")
    return unpriced(model, lane.name, f"no price of a model {target!r} is listed")


def without_lane_rates(
    entry: PriceListEntry, lane: Lane, moment: datetime, bands: tuple[RateBand, ...]
) -> tuple[RateBand, ...]:
    """Standard bands, changed to those of a lane without listed rates.

    OpenAI's discount applies if it is for all models, or if the model has a rate on a later day;
    otherwise the lane has no price.
    """
    rule = lane.price
    missing = _not_listed(entry, lane)
    for_all_models = bool(rule.all_models_source)
    is_sold = for_all_models or entry.tier_since(rule.listed_as) is not None
    if rule.share is None or entry.vendor != "openai" or not is_sold:
        return tuple(band.unpriced(missing) for band in bands)
    if moment.date() < rule.since:
        return tuple(band.unpriced(_not_sold_yet(lane)) for band in bands)
    reason = f"{missing}: {_estimated_as(rule)}"
    discounted = tuple(_discounted(band, rule.share, reason) for band in bands)
    if for_all_models or "cached_input" in entry.tier_parts(rule.listed_as):
        return discounted
    # The rates listed for it today have no cached input: there never was a discount for it.
    return tuple(_without_cache_discount(band, lane) for band in discounted)


def prompt_length_without_rate(entry: PriceListEntry, lane: Lane, band: RateBand) -> RateBand:
    """The band of prompts so long that only standard has a rate for them."""
    missing = f"no {lane.name} rate of {entry.name} above {band.above} input tokens is listed"
    rule = lane.price
    if rule.share is None or entry.vendor != "openai":
        return band.unpriced(missing)
    return _discounted(band, rule.share, f"{missing}: {_estimated_as(rule)}")


def part_without_rate(
    entry: PriceListEntry, lane: Lane, part: str, rates: Rates, standard: Rates
) -> tuple[Rates, str]:
    """A lane's rates with an estimate for ``part`` of a cost, and the reason."""
    missing = f"no {lane.name} rate of {part.replace('_', ' ')} is listed for {entry.name}"
    if part == "cached_input" and entry.vendor in lane.price.cached_at_standard:
        rates = replace(rates, cached_input=standard.cached_input)
        return rates, f"{missing}: taken as standard's"
    rule = lane.price
    if rule.all_models_source and rule.share is not None and entry.vendor == "openai":
        rate = getattr(standard.times(rule.share), part)
        return replace(rates, **{part: rate}), f"{missing}: {_estimated_as(rule)}"
    return rates, f"{missing}: taken as that of input"


def discounted_custom_rates(
    standard: Rates, model: str, lane: Lane, entry: PriceListEntry | None, moment: datetime
) -> RateSheet | None:
    """A lane's rates as OpenAI's discount on custom standard rates; None: the lane has no discount
    for all models, or the public list has a rate.

    A model without an ``entry`` is taken to be OpenAI's, since it was billed on the lane.
    """
    rule = lane.price
    if not rule.all_models_source or rule.share is None:
        return None
    if entry is not None and (
        entry.vendor != "openai" or entry.tier_rates(rule.listed_as, moment) is not None
    ):
        return None
    if moment.date() < rule.since:
        return unpriced(model, lane.name, _not_sold_yet(lane), CUSTOM)
    reason = f"the price book has no {lane.name} rates of {model}: {_estimated_as(rule)}"
    band = RateBand(0, standard.times(rule.share), standard, reason)
    return RateSheet(model, lane.name, (band,), CUSTOM)


def _not_listed(entry: PriceListEntry, lane: Lane) -> str:
    since = entry.tier_since(lane.price.listed_as)
    if since is None or entry.fine_tuned_rates is not None:
        return f"no {lane.name} rate of {entry.name} is listed"
    return f"no {lane.name} rate of {entry.name} is listed before {since}"


def _not_sold_yet(lane: Lane) -> str:
    return f"{lane.name} was not sold before {lane.price.since}"


def _estimated_as(rule: PriceRule) -> str:
    source = f" ({rule.all_models_source})" if rule.all_models_source else ""
    return f"taken as {rule.share} of standard{source}"


def _discounted(band: RateBand, share: Decimal, reason: str) -> RateBand:
    rates = band.standard and band.standard.times(share)
    return replace(band, rates=rates, reason="; ".join(filter(None, (band.reason, reason))))


def _without_cache_discount(band: RateBand, lane: Lane) -> RateBand:
    if band.rates is None or band.rates.cached_input == band.rates.input:
        return band
    reason = f"{lane.name} is taken to have no discount for cached input"
    return replace(
        band,
        rates=replace(band.rates, cached_input=band.rates.input),
        estimated_parts={**band.estimated_parts, "cached_input": reason},
    )
