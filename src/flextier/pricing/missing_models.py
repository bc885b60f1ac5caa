"""Models that OpenAI sells and the price list lacks, as entries of the list's own kind.

They are looked for where the list has no entry: as soon as it has one, that is what counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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

from flextier.pricing.lane_discounts import TERMS
from flextier.pricing.vendor_facts import NEWER, MissingModel

VENDOR = "openai"


def _entry(name: str, sold: MissingModel) -> ModelInfo:
    variants = [
        PriceVariant(dict(TERMS[lane].context), _prices(sold, share))
        for lane, share in sold.shares.items()
    ]
    standard = _prices(sold, Decimal(1))
    return ModelInfo(id=name, match=ClauseEquals(name), prices=standard, price_variants=variants)


def _prices(sold: MissingModel, share: Decimal) -> ModelPrice:
    short, long = sold.rates.times(share), sold.long_rates.times(share)

    def price(part: str) -> TieredPrices:
        tier = Tier(sold.long_above, getattr(long, part))
        return TieredPrices(getattr(short, part), [tier])

    return ModelPrice(
        input_mtok=price("input"),
        output_mtok=price("output"),
        cache_read_mtok=price("cached_input"),
        cache_write_mtok=price("cache_write"),
    )


_ENTRIES: Mapping[str, ModelInfo] = {name: _entry(name, sold) for name, sold in NEWER.items()}


def find(vendor: Provider, name: str) -> ModelInfo | None:
    """The entry of a model that this vendor has, if only from OpenAI; None if there is none."""
    if VENDOR in (vendor.id, *(vendor.fallback_model_providers or ())):
        return _ENTRIES.get(name.lower())
    return None


def sold_by(vendor: Provider) -> Iterator[ModelInfo]:
    """The entries that are this vendor's own models."""
    if vendor.id == VENDOR:
        yield from _ENTRIES.values()


def doubts(info: ModelInfo) -> Mapping[str, str]:
    """Why the rates of some parts of a cost are estimated; empty for an entry of the price list."""
    return NEWER[info.id].doubts if info is _ENTRIES.get(info.id) else {}


def names() -> Iterator[str]:
    """The models' names."""
    yield from _ENTRIES
