"""The table of ``flextier prices``: a row for each model and lane, with rates and amounts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date

from flextier._utils.formatting import text_table
from flextier.lanes import FLEX, LANES, PRIORITY, STANDARD, Lane, tier_lane
from flextier.pricing import price_list
from flextier.pricing.decimals import optional_digits, plain_digits
from flextier.pricing.price_book import price_book
from flextier.pricing.rate_sheet import RateBand, RateSheet
from flextier.pricing.rates import Rates
from flextier.pricing.usage import Usage

_LANES = (
    STANDARD.name,
    *(lane.name for lane in LANES.values() if not lane.price.is_standard),
    PRIORITY.name,
)
_ALWAYS = {STANDARD.name, FLEX.name}
_RATES = ("input", "cached", "cache write", "output")
_TEXT_COLUMNS = 3


@dataclass(frozen=True, slots=True)
class ModelPrices:
    """The rate sheets of one model, by lane."""

    model: str
    sheets: tuple[RateSheet, ...]


def prices_of(model: str, day: date) -> ModelPrices | str:
    """A model's rates on a day: on standard and flex, and on the other lanes that have a price.

    A lane whose discount is for all models (background windows) is included if the model is known
    to have it, or has rates of its own for it: every OpenAI model has a price there, but few
    support it.
    For a model without a price, the reason, with similar names.
    """
    book = price_book()
    try:
        sheets = {lane: book.sheet(model=model, lane=lane, at=day) for lane in _LANES}
    except ValueError as error:  # only the day can be wrong
        return f"--at: {error}"
    priced = [lane for lane, sheet in sheets.items() if _is_shown(sheet)]
    if priced:
        return ModelPrices(
            model, tuple(sheets[lane] for lane in _LANES if lane in _ALWAYS.union(priced))
        )
    reason = str(sheets[STANDARD.name].bands[-1].reason)
    if sheets[STANDARD.name].priced_as is not None:
        return reason
    similar = price_list.similar_names(price_list.snapshot(), model)
    return f"{reason}; close to it: {', '.join(similar)}" if similar else reason


def _is_shown(sheet: RateSheet) -> bool:
    """Whether a lane has a price, and the model supports the lane."""
    if not any(band.rates for band in sheet.bands):
        return False
    lane = tier_lane(sheet.lane)
    if not lane.price.all_models_source or any(band.reason is None for band in sheet.bands):
        return True
    # With custom standard rates, `priced_as` does not name the model.
    return any(is_known(lane, x) for x in (sheet.priced_as, sheet.model, f"openai/{sheet.model}"))


def is_known(lane: Lane, entry: str | None) -> bool:
    """Whether a model, by its entry in the price list, may have a lane, by OpenAI's pages."""
    vendor, _, model = (entry or "").partition("/")
    return vendor == "openai" and not lane.lacks(model)


def table(models: Iterable[ModelPrices], day: date, usage: Usage | None) -> list[str]:
    """The lines of the table, with numbered remarks below. A ``usage`` adds its cost to each row;
    then only the rates of its prompt length are shown."""
    remarks: dict[str, int] = {}
    head = ("model", "lane", "basis", *_RATES, *(("cost", "saved") if usage else ()))
    rows = [head, *(row for prices in models for row in _rows(prices, usage, remarks))]
    lines = [f"US$ per million tokens, {day}", "", *text_table(rows, left=_TEXT_COLUMNS)]
    if remarks:
        lines += ["", *(f"[{number}] {words}" for words, number in remarks.items())]
    return lines


def _rows(
    prices: ModelPrices, usage: Usage | None, remarks: dict[str, int]
) -> Iterator[tuple[str, ...]]:
    name = prices.model
    for sheet in prices.sheets:
        bands = sheet.bands[::-1] if usage is None else (sheet.band(usage.input_tokens),)
        for band in bands:
            lane = f"{sheet.lane} > {band.above:,}" if band.above else sheet.lane
            reason = _reason(sheet, band, usage)
            amounts = () if usage is None else _amounts(sheet, usage)
            yield (name, lane, _basis(band, reason, remarks), *_figures(band.rates), *amounts)
            name = ""


def _reason(sheet: RateSheet, band: RateBand, usage: Usage | None) -> str | None:
    if usage is not None:
        return sheet.cost(usage).reason
    return "; ".join(filter(None, (band.reason, *band.estimated_parts.values()))) or None


def _basis(band: RateBand, reason: str | None, remarks: dict[str, int]) -> str:
    if reason is None:
        return "exact"
    number = remarks.setdefault(reason, len(remarks) + 1)
    return f"{'unpriced' if band.rates is None else 'estimated'} [{number}]"


def _figures(rates: Rates | None) -> tuple[str, ...]:
    if rates is None:
        return ("-",) * len(_RATES)
    return tuple(
        map(plain_digits, (rates.input, rates.cached_input, rates.cache_write, rates.output))
    )


def _amounts(sheet: RateSheet, usage: Usage) -> tuple[str, str]:
    cost = sheet.cost(usage)
    return optional_digits(cost.total) or "-", optional_digits(cost.saved) or "-"
