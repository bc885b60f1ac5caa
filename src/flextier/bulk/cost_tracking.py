"""Whose call was it? One listener for the run, which finds the row in the context of the call."""

from __future__ import annotations

from contextvars import ContextVar
from decimal import Decimal
from typing import Any

from flextier.bulk.row import Row
from flextier.calls.budget import Spending
from flextier.calls.report import CallReport
from flextier.costs.records import CallRecord, record_of
from flextier.costs.totals import CostTotals
from flextier.errors import BudgetExceeded
from flextier.pricing.decimals import plain_digits, total

ROW: ContextVar[Row | None] = ContextVar("flextier_bulk_row", default=None)
"""The row that the running code works for."""


class RunBudget(Spending):
    """The run's budget; it marks the row whose call it refused."""

    def check(self, limit: Decimal, knob: str) -> None:
        """Raise if the limit is reached."""
        try:
            super().check(limit, knob)
        except BudgetExceeded:
            if (row := ROW.get()) is not None:
                row.is_cut = True
            raise


class RunCosts:
    """What the calls of a run came to, in all and by row.

    Args:
        totals: what those of earlier starts came to.
    """

    def __init__(self, totals: CostTotals) -> None:
        self.totals = totals

    def on_report(self, report: CallReport) -> None:
        """Count a call, and note it with its row."""
        record = record_of(report)
        self.totals.add(record)
        row = ROW.get()
        if row is not None:
            row.records.append(record)


def costs_of(records: list[CallRecord]) -> dict[str, Any]:
    """A row's lanes, cost and cost on standard, as columns; None: not known."""
    return {
        "lane": ",".join(dict.fromkeys(record.lane for record in records)) or None,
        "cost": _sum([record.cost.total for record in records]),
        "standard_cost": _sum([record.cost.standard for record in records]),
    }


def _sum(amounts: list[Any]) -> str | None:
    known = [amount for amount in amounts if amount is not None]
    return plain_digits(total(known)) if known and len(known) == len(amounts) else None
