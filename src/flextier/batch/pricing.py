"""The cost of batches and of their lines, by the price book."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

from flextier._openai.names import Batch
from flextier.batch.api import created_at
from flextier.costs import Cost, Usage, price, price_book
from flextier.lanes import BATCH
from flextier.pricing.decimals import added, difference

_TOTALS_ONLY = "the tokens of all lines together, at the rates of short prompts"


class BatchBill:
    """The total cost and usage of the lines of a batch."""

    def __init__(self, batch: Batch) -> None:
        self._model = getattr(batch, "model", None)
        self._at = _day(batch)
        self._tokens = dict.fromkeys(Usage(0, 0).to_dict(), 0)
        self._cost = Decimal(0)
        self._standard = self._cost_with_standard = Decimal(0)  # of lines with a price on both
        self._priced = 0
        self.unpriced = 0
        """Lines without a known price."""

    @property
    def cost(self) -> Decimal | None:
        """US$ of the lines with a known price; None: there are lines, but none has one."""
        return None if self.unpriced and not self._priced else self._cost

    @property
    def saved(self) -> Decimal | None:
        """US$ saved against the standard lane, for lines with a price on both."""
        return None if self.cost is None else difference(self._standard, self._cost_with_standard)

    @property
    def usage(self) -> Usage:
        """The tokens of all lines that report their usage."""
        return Usage(**self._tokens)

    def add(self, body: Any) -> None:
        """Add a successful line, by the body of its response."""
        usage = usage_in(body)
        cost = None
        if usage is not None:
            for name, tokens in usage.to_dict().items():
                self._tokens[name] += tokens
            cost = _price(usage, body.get("model") or self._model, self._at)
        total = None if cost is None else cost.total
        if cost is None or total is None:
            self.unpriced += 1
            return
        self._priced += 1
        self._cost = added(self._cost, total)
        if cost.standard is not None:
            self._cost_with_standard = added(self._cost_with_standard, total)
            self._standard = added(self._standard, cost.standard)


def usage_in(body: Any) -> Usage | None:
    """The usage in a response's JSON body; None if there is none."""
    fields = body.get("usage") if isinstance(body, dict) else None
    if not isinstance(fields, dict):
        return None
    if "prompt_tokens" in fields:  # embeddings have no output
        fields = {"completion_tokens": 0, **fields}
    return Usage.from_json(fields)


def cost_of(batch: Batch) -> Cost | None:
    """The cost of a batch by its total usage; None if it reports none.

    An estimate for models with other rates for long prompts: totals do not show their lengths. The
    lines do, see :func:`flextier.batch.fetch`.
    """
    usage, model = Usage.from_openai(getattr(batch, "usage", None)), getattr(batch, "model", None)
    if usage is None or not model or not usage.input_tokens:
        return None
    try:
        usage.check()
        sheet = price_book().sheet(model=model, lane=BATCH.name, at=_day(batch))
    except ValueError:
        return None
    short = min(sheet.bands, key=lambda band: band.above)
    cost = replace(sheet, bands=(short,)).cost(usage)
    if len(sheet.bands) == 1 or cost.total is None:
        return cost
    return replace(
        cost, basis="estimated", reason="; ".join(filter(None, (cost.reason, _TOTALS_ONLY)))
    )


def _price(usage: Usage, model: Any, at: datetime) -> Cost | None:
    try:
        return price(usage, model=model, lane=BATCH.name, at=at) if isinstance(model, str) else None
    except ValueError:
        return None


def _day(batch: Batch) -> datetime:
    at = created_at(batch)
    return datetime.now(timezone.utc) if at is None else datetime.fromtimestamp(at, timezone.utc)
