"""The table of ``flextier prices``: models and lanes down, rates and amounts across."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date

from flextier._utils.formatting import text_table
from flextier.lanes import model_support
from flextier.pricing import price_list
from flextier.pricing.decimals import written
from flextier.pricing.lane_discounts import WINDOWS
from flextier.pricing.price_book import price_book
from flextier.pricing.rate_sheet import RateBand, RateSheet
from flextier.pricing.rates import Rates
from flextier.pricing.usage import Usage

_LANES = ("standard", "flex", "batch", *WINDOWS, "priority")
_ALWAYS = ("standard", "flex")
_RATES = ("input", "cached", "cache write", "output")
_TEXT_COLUMNS = 3


@dataclass(frozen=True, slots=True)
class ModelPrices:
    """One model's sheets."""

    model: str
    sheets: tuple[RateSheet, ...]


def prices_of(model: str, day: date) -> ModelPrices | str:
    """A model's sheets on a day: standard and flex, and the other lanes that have a price.

    The windows of background responses are among them for models that are known to have them, and
    where they have rates of their own: every model of OpenAI's has a price there, and few are sold.
    Where no price of it is known, the reason, with names that are like it.
    """
    book = price_book()
    try:
        sheets = {lane: book.sheet(model=model, lane=lane, at=day) for lane in _LANES}
    except ValueError as error:  # of the arguments only the day can be wrong
        return f"--at: {error}"
    priced = [lane for lane, sheet in sheets.items() if _is_shown(sheet)]
    if priced:
        return ModelPrices(
            model, tuple(sheets[lane] for lane in _LANES if lane in {*_ALWAYS, *priced})
        )
    reason = str(sheets["standard"].bands[-1].reason)
    if sheets["standard"].priced_as is not None:
        return reason
    close = price_list.close_to(price_list.snapshot(), model)
    return f"{reason}; close to it: {', '.join(close)}" if close else reason


def _is_shown(sheet: RateSheet) -> bool:
    """Whether a lane has a price, and the model is sold on it."""
    if not any(band.rates for band in sheet.bands):
        return False
    if sheet.lane not in WINDOWS or any(band.reason is None for band in sheet.bands):
        return True
    # Where standard rates of one's own stand behind it, the entry does not name the model.
    return any(map(has_windows, (sheet.priced_as, sheet.model, f"openai/{sheet.model}")))


def has_windows(entry: str | None) -> bool:
    """Whether a model, by its entry in the price list, is known to be sold on background windows.

    Those whose pages say so, and what came after GPT-6.2: OpenAI adds flex to no later model, and
    points to the windows instead (its flex-processing guide).
    """
    vendor, _, model = (entry or "").partition("/")
    return vendor == "openai" and model_support.has_windows(model)


def table(models: Iterable[ModelPrices], day: date, usage: Usage | None) -> list[str]:
    """The lines of the table, its remarks below it.

    Args:
        models: the models, in the order they are shown.
        day: the day of the prices.
        usage: what to add the cost of; then only the rates of its length are shown.
    """
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
            why = _reasons(sheet, band, usage)
            amounts = () if usage is None else _amounts(sheet, usage)
            yield (name, lane, _basis(band, why, remarks), *_figures(band.rates), *amounts)
            name = ""


def _reasons(sheet: RateSheet, band: RateBand, usage: Usage | None) -> str | None:
    if usage is not None:
        return sheet.cost(usage).reason
    return "; ".join(filter(None, (band.reason, *band.doubts.values()))) or None


def _basis(band: RateBand, why: str | None, remarks: dict[str, int]) -> str:
    if why is None:
        return "exact"
    number = remarks.setdefault(why, len(remarks) + 1)
    return f"{'unpriced' if band.rates is None else 'estimated'} [{number}]"


def _figures(rates: Rates | None) -> tuple[str, ...]:
    if rates is None:
        return ("-",) * len(_RATES)
    return tuple(map(written, (rates.input, rates.cached_input, rates.cache_write, rates.output)))


def _amounts(sheet: RateSheet, usage: Usage) -> tuple[str, str]:
    cost = sheet.cost(usage)
    whole, saved = cost.total, cost.saved
    return (
        "-" if whole is None else written(whole),
        "-" if saved is None else written(saved),
    )
