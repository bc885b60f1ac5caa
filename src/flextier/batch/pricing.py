"""The cost of batches and of their lines, by the price book."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

from flextier._openai.public_names import Batch
from flextier.batch.api import created_at
from flextier.costs import Cost, CostTotals, Usage, price_book
from flextier.costs.records import CallRecord
from flextier.lanes import BATCH
from flextier.pricing.price_book import cost_or_unpriced

_TOTALS_ONLY = "the tokens of all lines together, at the rates of short prompts"


class BatchBill:
    """The total cost and usage of the lines of a batch."""

    def __init__(self, batch: Batch) -> None:
        self._model = getattr(batch, "model", None)
        self._at = _day(batch)
        self._totals = CostTotals()

    @property
    def cost(self) -> Decimal | None:
        """US$ of the lines with a known price; None: there are lines, but none has one."""
        is_known = not self.unpriced or self.unpriced < self._totals.calls
        return self._totals.cost if is_known else None

    @property
    def saved(self) -> Decimal | None:
        """US$ saved against the standard lane, for lines with a price on both."""
        return None if self.cost is None else self._totals.saved

    @property
    def unpriced(self) -> int:
        """Lines without a known price."""
        return self._totals.unpriced_calls

    @property
    def usage(self) -> Usage:
        """The tokens of all lines that report their usage."""
        return Usage(**{name: getattr(self._totals, name) for name in Usage(0, 0).to_dict()})

    def add(self, body: Any) -> None:
        """Add a successful line, by the body of its response."""
        usage, model, lane = usage_in(body), str(body.get("model") or self._model), BATCH.name
        cost = cost_or_unpriced(usage, [model], lane, self._at.timestamp())
        record = CallRecord(
            "", self._at, "openai", model, model, lane, lane, answered=True, usage=usage, cost=cost
        )
        self._totals.add(record)


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


def _day(batch: Batch) -> datetime:
    at = created_at(batch)
    return datetime.now(timezone.utc) if at is None else datetime.fromtimestamp(at, timezone.utc)
