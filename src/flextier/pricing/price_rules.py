"""From an entry of the price list to a lane's price sheet: what is listed, and what is a rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from flextier.pricing import vendor_facts
from flextier.pricing.lane_discounts import TERMS, LaneDiscount
from flextier.pricing.price_list import Listed, PriceListEntry, rate, starts
from flextier.pricing.rate_sheet import RateBand, RateSheet, unpriced
from flextier.pricing.rates import Rates

_NO_TERMS: Mapping[str, str] = {
    "scale": "scale tier is bought in units, not by the token",
}


def quote(listing: PriceListEntry, model: str, lane: str, moment: datetime) -> RateSheet:
    """The sheet of a model on a lane.

    Args:
        listing: the model's entry.
        model: the name it was asked for by.
        lane: the lane's name; one that is not known has no price.
        moment: the call's time.
    """
    standard = listing.standard(moment)
    if "input" not in standard:
        reason = f"{listing.name} is not sold by the token"
        return unpriced(model, lane, reason, listing.name)
    if lane == "standard":
        return RateSheet(model, lane, _standard_bands(listing, moment, standard), listing.name)
    terms = TERMS.get(lane)
    if terms is None:
        reason = _NO_TERMS.get(lane, f"no price of a lane {lane!r} is known")
        return unpriced(model, lane, reason, listing.name)
    tier = listing.tier(terms.context, moment)
    bands = _standard_bands(listing, moment, standard, tier or {})
    if tier is None:
        bands = _by_rule(listing, lane, terms, moment, bands)
    else:
        bands = tuple(_tier_band(listing, lane, standard, tier, band) for band in bands)
    return RateSheet(model, lane, bands, listing.name)


def _standard_bands(
    listing: PriceListEntry, moment: datetime, *listed: Listed
) -> tuple[RateBand, ...]:
    """Bands at standard rates, from wherever a rate of the standard list, the first, or of another
    one changes."""
    prices = (price for rates in listed for price in rates.values())
    limits = {0}.union(*map(starts, prices))
    reason = "; ".join(filter(None, (listing.doubt, listing.uncounted(moment)))) or None
    bands = []
    for above in sorted(limits, reverse=True):
        rates = _rates(listed[0], above)
        bands.append(RateBand(above, rates, rates, reason, listing.doubts))
    return tuple(bands)


def _by_rule(
    listing: PriceListEntry,
    lane: str,
    terms: LaneDiscount,
    moment: datetime,
    bands: tuple[RateBand, ...],
) -> tuple[RateBand, ...]:
    """The bands of a lane without listed rates: OpenAI's share of standard, or not known."""
    if terms.share is None or terms.since is None or listing.vendor != "openai":
        return _unknown(bands, _unlisted(listing, lane, terms))
    if listing.tier_since(terms.context) is None and terms.general is None:
        return _unknown(bands, _unlisted(listing, lane, terms))
    if moment.date() < terms.since:
        return _unknown(bands, not_yet_sold(lane, terms))
    why = f"{_unlisted(listing, lane, terms)}: {taken_as(terms)}"
    shared = tuple(_share(band, terms.share, why) for band in bands)
    if terms.general is not None:
        return shared
    if "cached_input" in listing.tier_parts(terms.context):
        return shared
    # What is listed for it today has no rate of cached input: it never had one.
    return tuple(_without_cache_discount(band, lane) for band in shared)


def not_yet_sold(lane: str, terms: LaneDiscount) -> str:
    """Why a lane had no price on a day before it was sold."""
    return f"{lane} was not sold before {terms.since}"


def taken_as(terms: LaneDiscount) -> str:
    """How a lane is priced without a rate of its own, and by whose word."""
    source = f" ({terms.general})" if terms.general else ""
    return f"taken as {terms.share} of standard{source}"


def _without_cache_discount(band: RateBand, lane: str) -> RateBand:
    if band.rates is None or band.rates.cached_input == band.rates.input:
        return band
    doubts = {"cached_input": f"{lane} is taken to have no discount for cached input"}
    rates = replace(band.rates, cached_input=band.rates.input)
    return replace(band, rates=rates, doubts={**band.doubts, **doubts})


def _unlisted(listing: PriceListEntry, lane: str, terms: LaneDiscount) -> str:
    since = listing.tier_since(terms.context)
    if since is None or listing.tuned is not None:
        return f"no {lane} rate of {listing.name} is listed"
    return f"no {lane} rate of {listing.name} is listed before {since}"


def _tier_band(
    listing: PriceListEntry, lane: str, standard: Listed, tier: Listed, band: RateBand
) -> RateBand:
    """A lane's band from the rates that are listed for it, beside the standard one."""
    if not tier:  # listed, and nothing differs
        return band
    if not {"input", "output"} & standard.keys() <= tier.keys():
        return _without(band, f"only some {lane} rates of {listing.name} are listed")
    if _is_flat_where_standard_rises(standard, tier, band.above):
        why = f"no {lane} rate of {listing.name} above {band.above} input tokens is listed"
        share = TERMS[lane].share
        if share is None or listing.vendor != "openai":
            return _without(band, why)
        return _share(band, share, f"{why}: {taken_as(TERMS[lane])}")
    rates = _rates(tier, band.above)
    doubts = dict(band.doubts)
    for part in ("cached_input", "cache_write"):
        if part in standard and part not in tier:
            rates, doubts[part] = _missing(listing, lane, part, rates, _rates(standard, band.above))
    return replace(band, rates=rates, doubts=doubts)


def _is_flat_where_standard_rises(standard: Listed, tier: Listed, above: int) -> bool:
    return above > 0 and any(
        not starts(tier[part]) and any(start <= above for start in starts(standard[part]))
        for part in tier.keys() & standard.keys()
    )


def _missing(
    listing: PriceListEntry, lane: str, part: str, rates: Rates, standard: Rates
) -> tuple[Rates, str]:
    """Rates with the one that a lane's list lacks, and why it is in doubt."""
    words = part.replace("_", " ")
    why = f"no {lane} rate of {words} is listed for {listing.name}"
    if (
        part == "cached_input"
        and lane == "batch"
        and listing.vendor in vendor_facts.CACHE_DISCOUNT_ON_BATCH
    ):
        return replace(rates, cached_input=standard.cached_input), f"{why}: taken as standard's"
    terms = TERMS[lane]
    if terms.general is not None and terms.share is not None and listing.vendor == "openai":
        shared = standard.times(terms.share)
        return replace(rates, **{part: getattr(shared, part)}), f"{why}: {taken_as(terms)}"
    return rates, f"{why}: taken as that of input"


def _share(band: RateBand, share: Decimal, why: str) -> RateBand:
    rates = band.standard and band.standard.times(share)
    return replace(band, rates=rates, reason="; ".join(filter(None, (band.reason, why))))


def _unknown(bands: tuple[RateBand, ...], why: str) -> tuple[RateBand, ...]:
    return tuple(_without(band, why) for band in bands)


def _without(band: RateBand, why: str) -> RateBand:
    return replace(band, rates=None, reason=why, doubts={})


def _rates(listed: Listed, above: int) -> Rates:
    """The rates of prompts just longer than that."""
    found = {part: rate(price, above) for part, price in listed.items()}
    plain = found["input"]
    return Rates(
        input=plain,
        # What is sold without a rate for output, embeddings say, has no output.
        output=found.get("output", Decimal(0)),
        cached_input=found.get("cached_input", plain),
        cache_write=found.get("cache_write", plain),
    )


_OWN = "the price book"


def share_of_own(
    standard: Rates, model: str, lane: str, listing: PriceListEntry | None, moment: datetime
) -> RateSheet | None:
    """The sheet of a lane as OpenAI's share of standard rates of one's own.

    Args:
        standard: one's own standard rates of the model.
        model: the name it was asked for by.
        lane: the lane's name; there are no rates of one's own for it.
        listing: the model's entry in the public list; None: it has none, and the model is taken
            for one of OpenAI's, since it was billed on the lane.
        moment: the call's time.

    Returns:
        The sheet. None: there is no such share, or the public list knows better.
    """
    terms = TERMS.get(lane)
    if terms is None or terms.general is None or terms.share is None or terms.since is None:
        return None
    if listing is not None and (
        listing.vendor != "openai" or listing.tier(terms.context, moment) is not None
    ):
        return None
    if moment.date() < terms.since:
        return unpriced(model, lane, not_yet_sold(lane, terms), _OWN)
    why = f"the price book has no {lane} rates of {model}: {taken_as(terms)}"
    return RateSheet(model, lane, (RateBand(0, standard.times(terms.share), standard, why),), _OWN)
