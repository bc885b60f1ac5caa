"""Receipt: what calls were paid, next to what was quoted and to the standard price."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from flextier._utils.atomic_file import atomic_write
from flextier._utils.formatting import count, dollars, percent, text_table
from flextier.costs.formatting import is_unpriced, notes
from flextier.costs.sums import Sums
from flextier.costs.totals import CostTotals
from flextier.pricing.decimals import optional_digits, plain_digits
from flextier.pricing.span import Span


@dataclass(frozen=True, slots=True)
class Receipt:
    """What calls were paid, in US$. ``print()`` shows it as a table."""

    totals: CostTotals
    """The costs of the calls."""
    quoted: Span[Decimal] | None = None
    """What was quoted; None: nothing was."""
    budget: Decimal | None = None
    """The limit; None: there was none."""
    is_complete: bool = True
    """Whether the quoted work is done; else more is going to be paid."""

    @property
    def paid(self) -> Decimal:
        """The cost of the calls with a known price."""
        return self.totals.cost

    @property
    def saved(self) -> Decimal:
        """How much more they would have cost on standard."""
        return self.totals.saved

    @property
    def within_quote(self) -> bool | None:
        """Whether what was paid is within the range that was quoted; None: nothing was quoted, or
        the cost of a call is unknown, or rows are pending and the range is not exceeded yet."""
        if self.quoted is None or self.totals.unpriced_calls:
            return None
        low, high = self.quoted.low, self.quoted.high
        if high is not None and self.paid > high:
            return False
        return (low is None or low <= self.paid) if self.is_complete else None

    def to_dict(self) -> dict[str, Any]:
        """The receipt as plain JSON types; money as strings of US$."""
        totals = self.totals.copy()
        return {
            "quoted": None if self.quoted is None else self.quoted.to_dict(optional_digits),
            "within_quote": self.within_quote,
            "budget": optional_digits(self.budget),
            **_amounts(totals),
            "lanes": {lane: _amounts(sums) for lane, sums in totals.by_lane.items()},
            "failed_calls": totals.failed_calls,
            "unpriced_calls": totals.unpriced_calls,
            "estimated_calls": totals.estimated_calls,
            "possibly_billed_attempts": totals.possibly_billed_attempts,
            "possibly_billed": plain_digits(totals.possibly_billed),
        }

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file, as JSON.

        Raises:
            OSError: the file cannot be written.
        """
        with atomic_write(path, private=False) as file:
            file.write(f"{json.dumps(self.to_dict(), indent=2)}\n".encode())

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def _amounts(sums: Sums) -> dict[str, Any]:
    return {
        "calls": sums.calls,
        "paid": plain_digits(sums.cost),
        "standard": plain_digits(sums.standard_cost),
        "saved": plain_digits(sums.saved),
    }


def _lines(receipt: Receipt) -> Iterator[str]:
    totals, quoted = receipt.totals.copy(), receipt.quoted
    lanes = sorted(totals.by_lane.items())
    rows: list[tuple[str, ...]] = [("", "calls", "paid", "on standard", "saved", "")]
    rows += [_row(name, sums) for name, sums in lanes]
    if len(lanes) != 1:
        rows.append(_row("all", totals))
    yield from text_table(rows, left=1)
    if quoted is not None:
        expected = "" if quoted.expected is None else f", expected {dollars(quoted.expected)}"
        outside = " (what was paid is outside)" if receipt.within_quote is False else ""
        yield f"quoted: {quoted.text(dollars)}{expected}{outside}"
    if receipt.budget is not None:
        yield f"budget: {dollars(receipt.budget)}, {percent(totals.cost, receipt.budget)} spent"
    yield from notes(totals)


def _row(name: str, sums: Sums) -> tuple[str, ...]:
    if is_unpriced(sums):
        return (name, count(sums.calls), "unknown", "", "", "")
    amounts = map(dollars, (sums.cost, sums.standard_cost, sums.saved))
    return (name, count(sums.calls), *amounts, percent(sums.saved, sums.standard_cost))
