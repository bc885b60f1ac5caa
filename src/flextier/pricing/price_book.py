"""Prices: the cost of a usage on a lane, by the public price list or by custom rates."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, time, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from flextier.lanes import ANY_WINDOW, AUTO, BACKGROUND, FLEX, JOURNAL, STANDARD, Lane, tier_lane
from flextier.pricing.cost import Cost, total_of
from flextier.pricing.rate_sheet import RateBand, RateSheet
from flextier.pricing.rates import Money, Rates
from flextier.pricing.usage import Usage

if TYPE_CHECKING:
    from flextier.pricing.price_list import PriceList

_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}$")
_MAX_CACHED_SHEETS = 2048  # one for each model, lane and day
_NO_USAGE = (
    "the response reports no readable usage; a chat stream reports it with "
    'stream_options={"include_usage": True}'
)

CustomRates = Rates | Mapping[str, Money] | Mapping[str, Rates | Mapping[str, Money]]
"""Custom rates of a model: the standard ones, or by lane."""

_Key = tuple[str, str, str | None, date]


class PriceBook:
    """Prices by model and lane: the public list, plus your aliases and rates.

    The public list is that of genai-prices. Nothing is fetched; the list is as new as the installed
    package.
    """

    def __init__(
        self,
        *,
        aliases: Mapping[str, str] | None = None,
        rates: Mapping[str, CustomRates] | None = None,
    ) -> None:
        """Make a price book; it is immutable.

        Args:
            aliases: names that a gateway or a deployment gave to models, as in
                ``{"my-o3": "o3", "prod-chat": "azure/gpt-4.1"}``.
            rates: your rates, by the model's name or alias. Either standard rates, as
                :class:`Rates` or their fields in US$ per million tokens:
                ``{"my-model": {"input": "2", "output": "8"}}``; or rates by lane:
                ``{"o3": {"flex": {...}}}``. They also apply to the model's dated snapshots. Lanes
                without custom rates are priced by the public list, if it has the model; background
                windows without a public rate, by OpenAI's discount on your standard rates.

        Raises:
            ValueError: rates are incomplete, negative, or floats. The message names the model.
        """
        self._aliases = dict(aliases or {})
        self._rates = {model: _by_lane(model, given) for model, given in (rates or {}).items()}
        self._cache: tuple[PriceList | None, dict[_Key, RateSheet]] = (None, {})

    def has_custom(self, model: str) -> bool:
        """Whether the book has custom rates or an alias for a model."""
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
        """The cost of a usage.

        Args:
            usage: the tokens.
            model: the model's name, also a dated snapshot's (``"o3-2025-04-16"``), a fine-tuned
                model's (``"ft:o4-mini-2025-04-16:org::id"``), or ``"vendor/model"``.
            lane: the lane that was billed: ``"flex"``, ``"standard"``, ``"batch"``,
                ``"background-soonest"``, ``"background-2h"``, ``"background-8h"``, or a service
                tier as the server reports it, ``"default"`` and ``"priority"`` among them.
            at: the date or time of the call; a time without a zone is UTC. None: now.
            provider: the vendor's id in genai-prices. None: derived from the model's name, else
                OpenAI.

        Returns:
            The cost; without a known price it is unpriced, with the reason.

        Raises:
            ValueError: the usage is impossible, the date is before the model existed, the provider
                is unknown, or the lane stands for several (``"auto"``, ``"background"``).
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
        """The rates that :meth:`price` applies; it takes the same arguments."""
        # Imported here, so that `import flextier` does not load the price list.
        from flextier.pricing import price_list

        moment = _moment(at)
        prices = price_list.snapshot()
        snapshot, sheets = self._cache
        if snapshot is not prices:
            sheets = {}
            self._cache = prices, sheets
        key = (model, lane, provider, moment.date())
        sheet = sheets.get(key)
        if sheet is None:
            sheet, cacheable = self._make(prices, model, _billed_lane(lane), provider, moment)
            if cacheable:
                if len(sheets) >= _MAX_CACHED_SHEETS:
                    sheets.clear()
                sheets[key] = sheet
        return sheet

    def _make(
        self,
        prices: PriceList,
        model: str,
        lane: Lane,
        provider: str | None,
        moment: datetime,
    ) -> tuple[RateSheet, bool]:
        """The rates, and whether they apply for the whole day."""
        from flextier.pricing import price_list
        from flextier.pricing.missing_rates import CUSTOM, discounted_custom_rates, unlisted_model
        from flextier.pricing.quote import quote

        target = self._aliases.get(model, model)
        names = (model, target, _DATE.sub("", target))
        custom = next((self._rates[name] for name in names if name in self._rates), {})
        if lane is not STANDARD and lane.price.is_standard and lane.name not in custom:
            sheet, cacheable = self._make(prices, model, STANDARD, provider, moment)
            return replace(sheet, lane=lane.name), cacheable
        entry = price_list.find_entry(prices, target, provider)
        if lane.name not in custom and STANDARD.name in custom:
            standard = custom[STANDARD.name]
            if discounted := discounted_custom_rates(standard, model, lane, entry, moment):
                return discounted, True
        if entry is None:
            return unlisted_model(model, target, lane, custom), True
        first, day = entry.first_sold, moment.date()
        if first is not None and day < first and not custom:
            raise ValueError(f"no price of {target} is known before {first}: at={day}")
        if lane.name not in custom:
            sheet = _with_custom_standard(custom, quote(entry, model, lane, moment))
            return sheet, not entry.varies_by_hour
        sheet = _with_custom_standard(custom, quote(entry, model, STANDARD, moment))
        bands = tuple(
            RateBand(band.above, custom[lane.name], band.standard) for band in sheet.bands
        )
        return RateSheet(model, lane.name, bands, CUSTOM), not entry.varies_by_hour


def _with_custom_standard(custom: Mapping[str, Rates], sheet: RateSheet) -> RateSheet:
    """A sheet of the public list, with custom standard rates if there are any."""
    standard = custom.get(STANDARD.name)
    if standard is None:
        return sheet
    return replace(sheet, bands=tuple(replace(band, standard=standard) for band in sheet.bands))


def _by_lane(model: str, given: Any) -> dict[str, Rates]:
    try:
        if isinstance(given, Rates) or "input" in given or "output" in given:
            return {STANDARD.name: Rates.read(given)}
        return {_billed_lane(lane).name: Rates.read(rates) for lane, rates in given.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"rates of {model!r}: {error}") from error


def _billed_lane(lane: str) -> Lane:
    """The lane by that name, or of that service tier."""
    if lane in (AUTO, ANY_WINDOW):
        raise ValueError(
            f"lane={lane!r} stands for several lanes: name the one that was billed, such as "
            f"{FLEX.name!r} or {BACKGROUND['2h'].name!r}"
        )
    return tier_lane(lane)


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
    """The price book of this process, which :func:`price` and all call reports use."""
    return _book


_due: WeakValueDictionary[int, Any] = WeakValueDictionary()


def prices_are_due(totals: Any) -> None:
    """Have ``totals._settle()`` called before other prices apply."""
    _due[id(totals)] = totals


def set_price_book(book: PriceBook | None) -> PriceBook:
    """Set the price book of this process; None: the public list alone. Returns the previous one."""
    global _book
    for totals in list(_due.values()):
        totals._settle()
    previous, _book = _book, PriceBook() if book is None else book
    return previous


def price(
    usage: Usage,
    *,
    model: str,
    lane: str,
    at: date | datetime | None = None,
    provider: str | None = None,
    book: PriceBook | None = None,
) -> Cost:
    """The cost of a usage.

    Args:
        usage: as for :meth:`PriceBook.price`, like ``model``, ``lane``, ``at`` and ``provider``.
        model: the model's name.
        lane: the lane that was billed.
        at: the date or time of the call; None: now.
        provider: the vendor's id in genai-prices; None: derived from the model's name, else OpenAI.
        book: the price book to use. None: that of this process.

    Raises:
        ValueError: as :meth:`PriceBook.price`.
    """
    book = price_book() if book is None else book
    return book.price(usage, model=model, lane=lane, at=at, provider=provider)


def cost_or_unpriced(usage: Usage | None, models: Sequence[str], lane: str, at: float) -> Cost:
    """The cost of a call; without a known price it is unpriced, with the reason. Never raises.

    ``models`` are names of the model, the most likely first: the first one with a price is used,
    those with custom rates or an alias before the others. ``at`` is in seconds since the epoch.
    """
    if lane == JOURNAL:
        return Cost(models[0], lane, "exact", None, None, None, *[Decimal(0)] * 5)
    if usage is None:
        return Cost(models[0], lane, "unpriced", _NO_USAGE)
    moment = datetime.fromtimestamp(at, timezone.utc)
    unpriced: Cost | None = None
    for model in _custom_first(models):
        try:
            cost = _book.price(usage, model=model, lane=lane, at=moment)
        except ValueError as error:
            cost = Cost(model, lane, "unpriced", str(error))
        if cost.basis != "unpriced":
            return cost
        unpriced = unpriced or cost
    assert unpriced is not None, "models is empty"
    return unpriced


def exact_totals(
    usage: Usage, models: Sequence[str], lane: str, at: float
) -> tuple[Decimal, Decimal] | None:
    """Total and standard amount of what :func:`cost_or_unpriced` returns; None: it is not exact.

    Takes half of its time, for callers who need no more than the amounts.
    """
    moment, model = datetime.fromtimestamp(at, timezone.utc), _custom_first(models)[0]
    try:
        usage.check()
        band = _book.sheet(model=model, lane=lane, at=moment).band(usage.input_tokens)
    except ValueError:
        return None
    rates, standard = band.rates, band.standard
    if rates is None or standard is None or band.reason or band.estimated_parts:
        return None
    return total_of(rates, usage), total_of(standard, usage)


def _custom_first(models: Sequence[str]) -> Sequence[str]:
    """Names of a model, those with custom rates or an alias before the others."""
    if len(models) == 1 or not any(map(_book.has_custom, models)):
        return models
    return sorted(models, key=lambda name: not _book.has_custom(name))


def load_price_list() -> None:
    """Load the price list now (a fifth of a second), so that no call waits for it later."""
    cost_or_unpriced(Usage(0, 0), ("o3",), FLEX.name, datetime.now().timestamp())
