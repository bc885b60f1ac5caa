"""Lanes that cost a share of standard, where the standard rates are one's own."""

from __future__ import annotations

from datetime import datetime

from flextier.pricing.lane_discounts import TERMS
from flextier.pricing.price_list import PriceListEntry
from flextier.pricing.price_rules import not_yet_sold, taken_as
from flextier.pricing.rate_sheet import RateBand, RateSheet, unpriced
from flextier.pricing.rates import Rates

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
