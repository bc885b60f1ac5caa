"""The price list: genai-prices, read here and nowhere else.

Its list is loaded from disk with the first price (a sixth of a second), and nothing is fetched. A
program that runs genai-prices' own ``UpdatePrices`` is priced by what that has fetched.

genai-prices answers with the standard price where a model has no rate for a tier. So it is not
asked for prices: its entries are read, and what an entry does not say comes out as None. Models
that it does not have yet are those of :mod:`flextier.pricing.missing_models`.
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

from flextier.pricing import missing_models, vendor_facts
from flextier.pricing.rates import Rates

PriceList = DataSnapshot
"""The whole list."""
Price = Decimal | TieredPrices
"""A rate, US$ per million tokens, or several, by the length of the prompt."""
Listed = Mapping[str, Price]
"""The listed rates of the parts of a cost, of those that have one."""

_PARTS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cached_input": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
}
_UNCOUNTED = {
    "requests_kcount": "a fee per request",
    "output_reasoning_mtok": "a rate for reasoning",
    "output_citation_mtok": "a rate for citations",
}
_DATED = re.compile(r"-(20\d\d)-?(\d\d)-?(\d\d)$")


@dataclass(frozen=True, slots=True)
class PriceListEntry:
    """One model's entry, and what is to be said of it."""

    vendor: str
    info: ModelInfo
    variants: tuple[PriceVariant, ...] = ()
    """Its rates that depend on the tier."""
    since: date | None = None
    """The first day there was something to price; None: not known."""
    tuned: Rates | None = None
    """The standard rates of models fine-tuned from it, if it is such a model that was asked for."""
    doubt: str | None = None
    """Why none of its rates is exact."""
    doubts: Mapping[str, str] = field(default_factory=dict)
    """Why those of one part of a cost are not."""

    @property
    def name(self) -> str:
        """The entry's own name."""
        tuned = "ft:" if self.tuned is not None else ""
        return f"{self.vendor}/{tuned}{self.info.id}"

    @property
    def hourly(self) -> bool:
        """Whether its prices depend on the time of day."""
        dated = self.info.prices if isinstance(self.info.prices, list) else []
        constraints = [price.constraint for price in dated]
        constraints += [variant.constraint for variant in self.variants]
        return any(isinstance(constraint, TimeOfDateConstraint) for constraint in constraints)

    def standard(self, moment: datetime) -> Listed:
        """The standard rates of that moment."""
        if self.tuned is not None:
            return {part: getattr(self.tuned, part) for part in _PARTS}
        listed = _listed(self.info.get_prices(moment))
        until, rate = vendor_facts.CACHED_INPUT_UNTIL.get(self.name, (date.min, Decimal(0)))
        return {**listed, "cached_input": rate} if moment.date() < until else listed

    def tier(self, context: Mapping[str, str], moment: datetime) -> Listed | None:
        """The rates of a tier at that moment: those that differ from standard. None: not listed."""
        if self.tuned is not None:
            return None
        found: dict[str, Price] = {}
        active = [variant for variant in self._of(context) if _active(variant, moment)]
        for variant in reversed(active):  # the first has the last word, as in genai-prices
            found.update(_listed(variant.prices))
        return found if active else None

    def tier_since(self, context: Mapping[str, str]) -> date | None:
        """The day of its first rate for a tier; ``date.min`` if that has no date, None if none."""
        starts = [getattr(item.constraint, "start_date", date.min) for item in self._of(context)]
        return min(starts, default=None)

    def tier_parts(self, context: Mapping[str, str]) -> set[str]:
        """The parts that have a rate for a tier, on any day."""
        return {part for variant in self._of(context) for part in _listed(variant.prices)}

    def uncounted(self, moment: datetime) -> str | None:
        """What the vendor also charges for, and a :class:`Usage` does not count."""
        prices = self.info.get_prices(moment)
        also = [words for key, words in _UNCOUNTED.items() if getattr(prices, key) is not None]
        if also:
            return f"{self.name} also has {' and '.join(also)}"
        return vendor_facts.REMARKS.get(self.name)

    def _of(self, context: Mapping[str, str]) -> Iterator[PriceVariant]:
        for variant in self.variants:
            if all(context.get(key) == value for key, value in variant.when.items()):
                yield variant


def _active(variant: PriceVariant, moment: datetime) -> bool:
    return variant.constraint is None or variant.constraint.active(moment)


def _listed(prices: ModelPrice) -> Listed:
    found = {part: getattr(prices, key) for part, key in _PARTS.items()}
    return {part: price for part, price in found.items() if price is not None}


def rate(price: Price, above: int) -> Decimal:
    """The rate of prompts longer than that, up to where the next one begins."""
    if isinstance(price, Decimal):
        return price
    steps = [tier.price for tier in price.tiers if tier.start <= above]
    return steps[-1] if steps else price.base


def starts(price: Price) -> list[int]:
    """The lengths of prompts, in input tokens, above which another rate begins."""
    return [tier.start for tier in price.tiers] if isinstance(price, TieredPrices) else []


def snapshot() -> PriceList:
    """The price list in force: another object after each update."""
    return data_snapshot.get_snapshot()


def find(prices: PriceList, model: str, provider: str | None) -> PriceListEntry | None:
    """The entry of a model; None if there is none.

    Args:
        prices: the price list.
        model: a model's name, a dated snapshot's, a fine-tuned model's, or ``vendor/model``.
        provider: the vendor, as genai-prices calls it. None: by the name, else
            OpenAI.

    Raises:
        ValueError: there is no such provider.
    """
    if model.startswith("ft:"):
        return _fine_tuned(prices, model, provider)
    listing = _exact(prices, model, provider)
    base = _DATED.sub("", model)
    if listing is not None or base == model:
        return listing
    listing = _exact(prices, base, provider)
    doubt = f"{model} is not listed: priced as {base}"
    return listing and replace(listing, since=_day_of(model), doubt=doubt)


def close_to(prices: PriceList, model: str, limit: int = 3) -> list[str]:
    """The models whose names are most like a name, best first."""
    names = {
        info.id
        for vendor in prices.providers
        if vendor.model_match is not None
        for info in vendor.models
    }.union(missing_models.names())
    return difflib.get_close_matches(model, sorted(names), n=limit)


def _exact(prices: PriceList, model: str, provider: str | None) -> PriceListEntry | None:
    for vendor, name in _candidates(prices, model, provider):
        info = vendor.find_model(name, all_providers=prices.providers)
        info = info or missing_models.find(vendor, name)
        if info is not None:
            return _listing(vendor, info, name)
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


def _listing(vendor: Provider, info: ModelInfo, name: str) -> PriceListEntry:
    # A vendor that resells another's model has that one's standard prices, not its tiers.
    own = any(info is model for model in (*vendor.models, *missing_models.sold_by(vendor)))
    variants = tuple(info.price_variants or ()) if own else ()
    since = _day_of(name) or _first_day(info, name.lower())
    since = since or vendor_facts.FIRST_SOLD.get(f"{vendor.id}/{info.id}")
    return PriceListEntry(vendor.id, info, variants, since, doubts=missing_models.doubts(info))


def _fine_tuned(prices: PriceList, model: str, provider: str | None) -> PriceListEntry | None:
    """The entry of what a model was fine-tuned from, with the rates of its fine-tuned models."""
    snapshot_name = model.split(":")[1]
    base = _DATED.sub("", snapshot_name)
    rates = vendor_facts.FINE_TUNED.get(base)
    if rates is None or provider not in (None, "openai"):
        return _exact(prices, model, provider)
    listing = _exact(prices, snapshot_name, "openai") or _exact(prices, base, "openai")
    return listing and replace(listing, tuned=rates)


def _first_day(info: ModelInfo, name: str) -> date | None:
    """The day in the name of the model's first snapshot."""
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
    if found is None:
        return None
    year, month, day = map(int, found.groups())
    try:
        return date(year, month, day)
    except ValueError:
        return None
