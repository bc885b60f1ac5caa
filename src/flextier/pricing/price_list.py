"""The price list: entries of genai-prices by model, and the rates in them.

genai-prices is loaded from disk with the first price (a sixth of a second), and nothing is fetched.
A program that runs genai-prices' own ``UpdatePrices`` gets the prices that it has fetched.

For a tier without a rate, genai-prices returns the standard price. So its price functions are not
used: its entries are read, and a missing rate comes out as None. Models that it does not have yet
are in :mod:`flextier.pricing.price_list_additions`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal

from genai_prices import data_snapshot
from genai_prices.data_snapshot import DataSnapshot
from genai_prices.types import (
    ClauseEquals,
    ClauseOr,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    Provider,
    TieredPrices,
    TimeOfDateConstraint,
)

from flextier.pricing import price_list_additions
from flextier.pricing.rates import Rates

PriceList = DataSnapshot
"""The whole list."""
Price = Decimal | TieredPrices
"""A rate, US$ per million tokens, or several, by the length of the prompt."""
ListedRates = Mapping[str, Price]
"""The listed rates, by part of a cost; a part without a rate is absent."""

_PARTS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cached_input": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
}
_UNCOUNTED_CHARGES = {
    "requests_kcount": "a fee per request",
    "output_reasoning_mtok": "a rate for reasoning",
    "output_citation_mtok": "a rate for citations",
}
_DATED = re.compile(r"-(20\d\d)-?(\d\d)-?(\d\d)$")


@dataclass(frozen=True, slots=True)
class PriceListEntry:
    """The entry of one model."""

    vendor: str
    info: ModelInfo
    variants: tuple[PriceVariant, ...] = ()
    """Its rates on other tiers than standard."""
    first_sold: date | None = None
    """The first day that it was sold; None: unknown."""
    fine_tuned_rates: Rates | None = None
    """For a fine-tuned model, its standard rates: the rest of the entry is its base model's."""
    estimate_reason: str | None = None
    """Why all of its rates are estimates."""
    estimated_parts: Mapping[str, str] = field(default_factory=dict)
    """Parts of a cost whose rate is an estimate, each with the reason."""

    @property
    def name(self) -> str:
        """``vendor/model``."""
        prefix = "ft:" if self.fine_tuned_rates is not None else ""
        return f"{self.vendor}/{prefix}{self.info.id}"

    @property
    def varies_by_hour(self) -> bool:
        """Whether its prices depend on the time of day."""
        dated = self.info.prices if isinstance(self.info.prices, list) else []
        constraints = [price.constraint for price in dated]
        constraints += [variant.constraint for variant in self.variants]
        return any(isinstance(constraint, TimeOfDateConstraint) for constraint in constraints)

    def standard_rates(self, moment: datetime) -> ListedRates:
        """The standard rates at a time."""
        if self.fine_tuned_rates is not None:
            return {part: getattr(self.fine_tuned_rates, part) for part in _PARTS}
        listed = _listed(self.info.get_prices(moment))
        corrections = price_list_additions.CACHED_INPUT_UNTIL
        until, rate = corrections.get(self.name, (date.min, Decimal(0)))
        return {**listed, "cached_input": rate} if moment.date() < until else listed

    def tier_rates(self, context: Mapping[str, str], moment: datetime) -> ListedRates | None:
        """The rates of a tier that differ from standard, at a time; None: it is not listed."""
        if self.fine_tuned_rates is not None:
            return None
        found: dict[str, Price] = {}
        active = [
            variant
            for variant in self._variants_for(context)
            if variant.constraint is None or variant.constraint.active(moment)
        ]
        for variant in reversed(active):  # the first one takes precedence, as in genai-prices
            found.update(_listed(variant.prices))
        return found if active else None

    def tier_since(self, context: Mapping[str, str]) -> date | None:
        """The day of its first rate for a tier: ``date.min`` if undated, None if there is none."""
        starts = [
            getattr(item.constraint, "start_date", date.min) for item in self._variants_for(context)
        ]
        return min(starts, default=None)

    def tier_parts(self, context: Mapping[str, str]) -> set[str]:
        """The parts that have a rate for a tier, on any day."""
        return {part for variant in self._variants_for(context) for part in _listed(variant.prices)}

    def uncounted(self, moment: datetime) -> str | None:
        """Charges of the vendor that a :class:`Usage` does not count; None: there are none."""
        prices = self.info.get_prices(moment)
        also = [
            words for key, words in _UNCOUNTED_CHARGES.items() if getattr(prices, key) is not None
        ]
        if also:
            return f"{self.name} also has {' and '.join(also)}"
        return price_list_additions.UNCOUNTED_CHARGES.get(self.name)

    def _variants_for(self, context: Mapping[str, str]) -> Iterator[PriceVariant]:
        for variant in self.variants:
            if all(context.get(key) == value for key, value in variant.when.items()):
                yield variant


def _listed(prices: ModelPrice) -> ListedRates:
    found = {part: getattr(prices, key) for part, key in _PARTS.items()}
    return {part: price for part, price in found.items() if price is not None}


def rates_above(listed: ListedRates, above: int) -> Rates:
    """The rates of prompts with just more than ``above`` input tokens."""
    rates = {part: _rate_above(price, above) for part, price in listed.items()}
    input = rates["input"]
    return Rates(
        input=input,
        output=rates.get("output", Decimal(0)),  # embeddings have no output
        cached_input=rates.get("cached_input", input),
        cache_write=rates.get("cache_write", input),
    )


def _rate_above(price: Price, above: int) -> Decimal:
    if isinstance(price, Decimal):
        return price
    steps = [tier.price for tier in price.tiers if tier.start <= above]
    return steps[-1] if steps else price.base


def tier_starts(price: Price) -> list[int]:
    """The numbers of input tokens above which another rate applies."""
    return [tier.start for tier in price.tiers] if isinstance(price, TieredPrices) else []


def snapshot() -> PriceList:
    """The current price list; a new object after each update."""
    return data_snapshot.get_snapshot()


def find_entry(prices: PriceList, model: str, provider: str | None) -> PriceListEntry | None:
    """The entry of a model, named as for :meth:`PriceBook.price`; None if there is none.

    Raises:
        ValueError: there is no such provider.
    """
    if model.startswith("ft:"):
        return _fine_tuned(prices, model, provider)
    entry = _find_exact(prices, model, provider)
    base = _DATED.sub("", model)
    if entry is not None or base == model:
        return entry
    entry = _find_exact(prices, base, provider)
    reason = f"{model} is not listed: priced as {base}"
    return entry and replace(entry, first_sold=_day_of(model), estimate_reason=reason)


def similar_names(prices: PriceList, model: str) -> list[str]:
    """The models whose names are most similar to a name, best first."""
    names = {
        info.id
        for vendor in prices.providers
        if vendor.model_match is not None
        for info in vendor.models
    }.union(price_list_additions.MISSING_MODELS)
    return difflib.get_close_matches(model, sorted(names))


def _find_exact(prices: PriceList, model: str, provider: str | None) -> PriceListEntry | None:
    for vendor, name in _candidates(prices, model, provider):
        info = vendor.find_model(name, all_providers=prices.providers)
        info = info or price_list_additions.find_added(vendor, name)
        if info is not None:
            return _entry(vendor, info, name)
    return None


def _candidates(
    prices: PriceList, model: str, provider: str | None
) -> Iterator[tuple[Provider, str]]:
    if provider is not None:
        vendor = data_snapshot.find_provider_by_id(prices.providers, provider)
        if vendor is None:
            raise ValueError(f"provider={provider!r} is not one of those in genai-prices")
        yield vendor, model
        return
    prefix, _, rest = model.partition("/")
    named = data_snapshot.find_provider_by_id(prices.providers, prefix) if rest else None
    if named is not None:
        yield named, rest
    for vendor in prices.providers:
        if vendor.model_match is not None and vendor.model_match.is_match(model.lower()):
            yield vendor, model
    openai = data_snapshot.find_provider_by_id(prices.providers, "openai")
    if openai is not None:
        yield openai, model


def _entry(vendor: Provider, info: ModelInfo, name: str) -> PriceListEntry:
    is_added = info is price_list_additions.MISSING_MODELS.get(info.id)
    # A reseller of another vendor's model has its standard prices, but not its tiers.
    is_vendors = vendor.id == "openai" if is_added else any(info is x for x in vendor.models)
    variants = tuple(info.price_variants or ()) if is_vendors else ()
    day = _day_of(name) or _first_snapshot_day(info, name.lower())
    day = day or price_list_additions.FIRST_SOLD.get(f"{vendor.id}/{info.id}")
    estimated = price_list_additions.ESTIMATED_PARTS.get(info.id, {}) if is_added else {}
    return PriceListEntry(vendor.id, info, variants, day, estimated_parts=estimated)


def _fine_tuned(prices: PriceList, model: str, provider: str | None) -> PriceListEntry | None:
    """The entry of a fine-tuned model's base model, with the rates of its fine-tuned models."""
    snapshot_name = model.split(":")[1]
    base = _DATED.sub("", snapshot_name)
    rates = price_list_additions.FINE_TUNED.get(base)
    if rates is None or provider not in (None, "openai"):
        return _find_exact(prices, model, provider)
    entry = _find_exact(prices, snapshot_name, "openai") or _find_exact(prices, base, "openai")
    return entry and replace(entry, fine_tuned_rates=rates)


def _first_snapshot_day(info: ModelInfo, name: str) -> date | None:
    """The day in the name of the model's earliest snapshot."""
    snapshots = (other for other in _names(info.match) if other.startswith(f"{name}-"))
    days = [_day_of(other) for other in snapshots if _DATED.sub("", other) == name]
    return min((day for day in days if day is not None), default=None)


def _names(match: object) -> Iterator[str]:
    if isinstance(match, ClauseOr):
        for clause in match.or_:
            yield from _names(clause)
    elif isinstance(match, ClauseEquals):
        yield match.equals


def _day_of(name: str) -> date | None:
    """The day in a snapshot's name; None if it has none."""
    found = _DATED.search(name)
    try:
        return found and date(*map(int, found.groups()))
    except ValueError:
        return None
