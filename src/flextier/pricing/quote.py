"""From an entry of the price list to the rates of one lane: the listed rates, by prompt length."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from flextier.lanes import STANDARD, Lane
from flextier.pricing.missing_rates import (
    part_without_rate,
    prompt_length_without_rate,
    without_lane_rates,
)
from flextier.pricing.price_list import ListedRates, PriceListEntry, rates_above, tier_starts
from flextier.pricing.rate_sheet import RateBand, RateSheet, unpriced


def quote(entry: PriceListEntry, model: str, lane: Lane, moment: datetime) -> RateSheet:
    """The rates of a model on a lane at a time; ``model`` is the caller's name for it."""
    standard = entry.standard_rates(moment)
    if "input" not in standard:
        return unpriced(model, lane.name, f"{entry.name} is not sold by the token", entry.name)
    if lane is STANDARD:
        return RateSheet(model, lane.name, _standard_bands(entry, moment, standard), entry.name)
    rule = lane.price
    if not rule.listed_as and rule.share is None:
        reason = rule.unpriced or f"no price of a lane {lane.name!r} is known"
        return unpriced(model, lane.name, reason, entry.name)
    tier = entry.tier_rates(rule.listed_as, moment)
    bands = _standard_bands(entry, moment, standard, tier or {})
    if tier is None:
        bands = without_lane_rates(entry, lane, moment, bands)
    else:
        bands = tuple(_tier_band(entry, lane, standard, tier, band) for band in bands)
    return RateSheet(model, lane.name, bands, entry.name)


def _standard_bands(
    entry: PriceListEntry, moment: datetime, standard: ListedRates, tier: ListedRates | None = None
) -> tuple[RateBand, ...]:
    """Bands at standard rates; a band starts wherever a standard or a tier's rate changes."""
    prices = (*standard.values(), *(tier or {}).values())
    starts = {0}.union(*map(tier_starts, prices))
    reason = "; ".join(filter(None, (entry.estimate_reason, entry.uncounted(moment)))) or None
    bands = []
    for above in sorted(starts, reverse=True):
        rates = rates_above(standard, above)
        bands.append(RateBand(above, rates, rates, reason, entry.estimated_parts))
    return tuple(bands)


def _tier_band(
    entry: PriceListEntry, lane: Lane, standard: ListedRates, tier: ListedRates, band: RateBand
) -> RateBand:
    """A standard band, changed to the rates that are listed for a lane."""
    if not tier:  # listed, and nothing differs
        return band
    if not {"input", "output"} & standard.keys() <= tier.keys():
        return band.unpriced(f"only some {lane.name} rates of {entry.name} are listed")
    if _only_standard_rises(standard, tier, band.above):
        return prompt_length_without_rate(entry, lane, band)
    rates = rates_above(tier, band.above)
    estimated = dict(band.estimated_parts)
    for part in ("cached_input", "cache_write"):
        if part in standard and part not in tier:
            listed = rates_above(standard, band.above)
            rates, estimated[part] = part_without_rate(entry, lane, part, rates, listed)
    return replace(band, rates=rates, estimated_parts=estimated)


def _only_standard_rises(standard: ListedRates, tier: ListedRates, above: int) -> bool:
    """Whether long prompts have higher standard rates, and the lane's list has none for them."""
    return above > 0 and any(
        not tier_starts(tier[part]) and any(x <= above for x in tier_starts(standard[part]))
        for part in tier.keys() & standard.keys()
    )
