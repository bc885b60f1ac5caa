"""RunningSums: sums in progress, as integers: fast and exact; made into Sums at the end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import add
from typing import Any

from flextier.costs.records import CallRecord
from flextier.costs.totals import CostTotals, Sums
from flextier.ledger.rows import join_amount
from flextier.ledger.schema import TOKENS
from flextier.pricing.decimals import added
from flextier.report.queries import NUMBERS

_PLACES = {name: place for place, name in enumerate(NUMBERS)}
_AMOUNTS = {
    "cost": "cost",
    "standard_cost": "standard",
    "saved": "saved",
    "fallback_premium": "premium",
    "possibly_billed": "possibly_billed",
}
_COUNTS = {
    "calls": "answered",
    **{
        name: name
        for name in (
            "fallback_calls",
            "refusals",
            "possibly_billed_attempts",
            "unpriced_calls",
            "estimated_calls",
            *TOKENS,
        )
    },
}


class RunningSums:
    """Sums under way, of groups that the database has added up and of single records."""

    def __init__(self) -> None:
        self.numbers = [0] * len(NUMBERS)
        self.records: list[CallRecord] = []
        """Those with numbers that the ledger's columns cannot hold."""

    def add(self, numbers: Sequence[int]) -> None:
        """Add a group's sums."""
        self.numbers = list(map(add, self.numbers, numbers))

    def __getitem__(self, name: str) -> int:
        """A number of ``NUMBERS``, of the groups alone."""
        return self.numbers[_PLACES[name]]

    @property
    def calls(self) -> int:
        """Answered calls."""
        return self["answered"] + sum(record.answered for record in self.records)

    @property
    def every(self) -> int:
        """Calls, answered or not."""
        return self["records"] + len(self.records)

    @property
    def premiums(self) -> int:
        """Answered calls that fell back at a premium that is known."""
        known = (record.answered and record.premium is not None for record in self.records)
        return self["premiums"] + sum(known)

    def sums(self) -> Sums:
        """What it all came to."""
        sums, rest = Sums(), CostTotals(self.records)
        for name, column in _COUNTS.items():
            setattr(sums, name, self[column] + getattr(rest, name))
        sums.failed_calls = self["records"] - self["answered"] + rest.failed_calls
        for name, column in _AMOUNTS.items():
            held = join_amount(self[f"{column}_nano"], self[f"{column}_atto"])
            setattr(sums, name, added(held, getattr(rest, name)))
        return sums


def numbers_of(columns: Iterable[Any]) -> list[int]:
    """A group's sums as a database gave them: NULL where nothing is known, or a numeric."""
    return [int(number or 0) for number in columns]
