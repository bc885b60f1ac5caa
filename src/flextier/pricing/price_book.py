"""Prices: what a usage costs on a lane, by the public price list or by rates of your own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, time, timezone
from typing import TYPE_CHECKING, Any

from flextier.lanes import tier_lane
from flextier.pricing.cost import Cost
from flextier.pricing.rate_sheet import RateBand, RateSheet, unpriced
from flextier.pricing.rates import Money, Rates
from flextier.pricing.usage import Usage

if TYPE_CHECKING:
    from flextier.pricing.price_list import PriceList

_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}$")
_REMEMBERED = 2048  # sheets: models, lanes and days
_OWN = "the price book"

OwnRates = Rates | Mapping[str, Money] | Mapping[str, Rates | Mapping[str, Money]]
"""Rates of your own for a model: standard ones, or by lane."""

_Key = tuple[str, str, str | None, date]


class PriceBook:
    """Prices by model and lane: the public list, with names and rates of your own.

    The public list is that of genai-prices. Nothing is fetched; the list is as new as the installed
    package.
    """

    def __init__(
        self,
        *,
        aliases: Mapping[str, str] | None = None,
        rates: Mapping[str, OwnRates] | None = None,
    ) -> None:
        """Make a price book; it does not change later.

        Args:
            aliases: the model behind each name that a gateway or a deployment gave it, as in
                ``{"my-o3": "o3", "prod-chat": "azure/gpt-4.1"}``.
            rates: your rates, by the model's name or alias: :class:`Rates` or their fields in US$
                per million tokens, as in ``{"my-model": {"input": "2", "output": "8"}}``, which
                are standard rates; or rates by lane, as in ``{"o3": {"flex": {...}}}``. They are
                for the model's dated snapshots, too. Lanes that you give no rates for are priced
                by the public list, if that has the model; background windows that it has no rates
                of are a share of your standard ones.

        Raises:
            ValueError: rates that are incomplete, negative, or floats. The message names the model.
        """
        self._aliases = dict(aliases or {})
        self._rates = {model: _by_lane(model, given) for model, given in (rates or {}).items()}
        self._known: tuple[PriceList | None, dict[_Key, RateSheet]] = (None, {})

    def has_own(self, model: str) -> bool:
        """Whether the book has rates or another name for a model."""
        return model in self._aliases or model in self._rates

    def __repr__(self) -> str:
        return f"PriceBook(aliases={self._aliases!r}, rates={self._rates!r})"

    def price(
        self,
        usage: Usage,
        *,
        model: str,
        lane: str,
        at: date | datetime | None = None,
        provider: str | None = None,
    ) -> Cost:
        """What a usage costs.

        Args:
            usage: the tokens.
            model: the model's name, also a dated snapshot's (``"o3-2025-04-16"``), a fine-tuned
                model's (``"ft:o4-mini-2025-04-16:org::id"``), or ``"vendor/model"``.
            lane: the lane that was billed: ``"flex"``, ``"standard"``, ``"batch"``,
                ``"background-soonest"``, ``"background-2h"``, ``"background-8h"``, or a service
                tier as the server reports it, ``"default"`` and ``"priority"`` among them.
            at: when: a date, or a time, which is UTC where it has no zone. None: now.
            provider: the vendor, by its name in genai-prices. None: the one that the model's name
                says, else OpenAI.

        Returns:
            The cost. What has no known price comes back unpriced, with the reason.

        Raises:
            ValueError: tokens that cannot be, a date before the model existed, or a provider that
                there is none of.
        """
        usage.check()
        return self.sheet(model=model, lane=lane, at=at, provider=provider).cost(usage)

    def sheet(
        self,
        *,
        model: str,
        lane: str,
        at: date | datetime | None = None,
        provider: str | None = None,
    ) -> RateSheet:
        """The rates that :meth:`price` applies; the same arguments and errors."""
        # Here, for the first price of a process: `import flextier` does not load the price list.
        from flextier.pricing import price_list

        moment = _moment(at)
        prices = price_list.snapshot()
        snapshot, sheets = self._known
        if snapshot is not prices:
            sheets = {}
            self._known = prices, sheets
        key = (model, lane, provider, moment.date())
        sheet = sheets.get(key)
        if sheet is None:
            sheet, lasting = self._make(prices, model, tier_lane(lane).name, provider, moment)
            if lasting:
                if len(sheets) >= _REMEMBERED:
                    sheets.clear()
                sheets[key] = sheet
        return sheet

    def _make(
        self,
        prices: PriceList,
        model: str,
        lane: str,
        provider: str | None,
        moment: datetime,
    ) -> tuple[RateSheet, bool]:
        """The sheet, and whether it holds for the whole day."""
        from flextier.pricing import price_list
        from flextier.pricing.lane_discounts import LIST_PRICED
        from flextier.pricing.price_rules import quote, share_of_own

        target = self._aliases.get(model, model)
        names = (model, target, _DATE.sub("", target))
        own = next((self._rates[name] for name in names if name in self._rates), {})
        if lane in LIST_PRICED and lane not in own:
            sheet, lasting = self._make(prices, model, "standard", provider, moment)
            return replace(sheet, lane=lane), lasting
        listing = price_list.find(prices, target, provider)
        if lane not in own and "standard" in own:
            shared = share_of_own(own["standard"], model, lane, listing, moment)
            if shared is not None:
                return shared, True
        if listing is None:
            return self._unlisted(model, target, lane, own), True
        day = moment.date()
        if listing.since is not None and day < listing.since and not own:
            raise ValueError(f"no price of {target} is known before {listing.since}: at={day}")
        if lane not in own:
            return _beside(own, quote(listing, model, lane, moment)), not listing.hourly
        standard = _beside(own, quote(listing, model, "standard", moment))
        bands = tuple(RateBand(band.above, own[lane], band.standard) for band in standard.bands)
        return RateSheet(model, lane, bands, _OWN), not listing.hourly

    def _unlisted(self, model: str, target: str, lane: str, own: Mapping[str, Rates]) -> RateSheet:
        """The sheet of a model that the public list does not have."""
        if lane in own:
            return RateSheet(model, lane, (RateBand(0, own[lane], own.get("standard")),), _OWN)
        if own:
            return unpriced(model, lane, f"the price book has no {lane} rates of {model}")
        return unpriced(model, lane, f"no price of a model {target!r} is listed")


def _beside(own: Mapping[str, Rates], sheet: RateSheet) -> RateSheet:
    """A sheet of the public list, next to standard rates of your own if there are any."""
    standard = own.get("standard")
    if standard is None:
        return sheet
    return replace(sheet, bands=tuple(replace(band, standard=standard) for band in sheet.bands))


def _by_lane(model: str, given: Any) -> dict[str, Rates]:
    try:
        if isinstance(given, Rates) or "input" in given or "output" in given:
            return {"standard": Rates.read(given)}
        return {tier_lane(lane).name: Rates.read(rates) for lane, rates in given.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"rates of {model!r}: {error}") from error


def _moment(at: date | datetime | None) -> datetime:
    if at is None:
        return datetime.now(timezone.utc)
    if isinstance(at, datetime):
        if at.tzinfo is timezone.utc:
            return at
        return at.replace(tzinfo=timezone.utc) if at.tzinfo is None else at.astimezone(timezone.utc)
    if isinstance(at, date):
        return datetime.combine(at, time(), timezone.utc)
    raise TypeError(f"at={at!r}: a date, a datetime, or None for now")


_book = PriceBook()


def price_book() -> PriceBook:
    """The price book of this process: what :func:`price` and every report of a cost go by."""
    return _book


def set_price_book(book: PriceBook | None) -> PriceBook:
    """Make a book that of this process; None: the public list alone. Returns the one before."""
    global _book
    before, _book = _book, PriceBook() if book is None else book
    return before


def price(
    usage: Usage,
    *,
    model: str,
    lane: str,
    at: date | datetime | None = None,
    provider: str | None = None,
    book: PriceBook | None = None,
) -> Cost:
    """What a usage costs, by :meth:`PriceBook.price`.

    Args:
        usage: the tokens.
        model: the model's name.
        lane: the lane that was billed.
        at: when; None: now.
        provider: the vendor; None: by the model's name, else OpenAI.
        book: the price book to go by. None: that of this process.

    Raises:
        ValueError: tokens that cannot be, a date before the model existed, or a provider that there
            is none of.
    """
    book = price_book() if book is None else book
    return book.price(usage, model=model, lane=lane, at=at, provider=provider)
