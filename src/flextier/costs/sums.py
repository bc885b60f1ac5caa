"""Sums: counts, tokens and US$ of calls, and what one record adds to them."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import fields as fields_of
from decimal import Decimal
from typing import Any

from flextier.calls.report import SERVED, CallReport
from flextier.costs.records import CallRecord, record_of
from flextier.pricing.decimals import added, difference, plain_digits
from flextier.pricing.price_book import exact_totals

Counts = list[tuple[str, int]]
Amounts = list[tuple[str, Decimal]]


@dataclass(slots=True, repr=False, eq=False)
class Sums:
    """Counts, tokens and US$ of calls."""

    calls: int = 0
    """Calls that got a response."""
    failed_calls: int = 0
    """Calls that got none."""
    fallback_calls: int = 0
    """Calls with a response that were not billed on their first lane."""
    refusals: int = 0
    """Attempts that were refused for lack of capacity; they are not billed."""
    possibly_billed_attempts: int = 0
    """Attempts that may have been billed although they gave no response."""
    unpriced_calls: int = 0
    """Calls with a response and an unknown cost; they are not included in any amount."""
    estimated_calls: int = 0
    """Calls with a response whose cost is an estimate."""
    input_tokens: int = 0
    cached_input_tokens: int = 0
    """Part of ``input_tokens``."""
    cache_write_tokens: int = 0
    """Part of ``input_tokens``."""
    output_tokens: int = 0
    reasoning_tokens: int = 0
    """Part of ``output_tokens``."""
    cost: Decimal = Decimal(0)
    """The cost of the priced calls."""
    standard_cost: Decimal = Decimal(0)
    """Their cost on the standard lane, where that has a price."""
    saved: Decimal = Decimal(0)
    """``standard_cost`` less ``cost``, of the calls for which both are known."""
    fallback_premium: Decimal = Decimal(0)
    """The cost of the calls that fell back, less their price on their first lane."""
    possibly_billed: Decimal = Decimal(0)
    """The maximum that attempts without a response may have cost in addition, where it is known."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sums):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in (*_COUNTS, *_AMOUNTS))

    __hash__ = None  # type: ignore[assignment]  # sums change

    def _count(self, counts: Counts, amounts: Amounts) -> None:
        """Add counts and amounts."""
        for name, count in counts:
            setattr(self, name, getattr(self, name) + count)
        for name, amount in amounts:
            setattr(self, name, added(getattr(self, name), amount))

    def _plus(self, other: Sums) -> None:
        """Add other sums."""
        self._count(
            [(name, getattr(other, name)) for name in _COUNTS],
            [(name, getattr(other, name)) for name in _AMOUNTS],
        )

    def _read(self, fields: dict[str, Any]) -> None:
        """Set the values from :meth:`to_dict`."""
        for name in _COUNTS:
            setattr(self, name, fields[name])
        for name in _AMOUNTS:
            setattr(self, name, Decimal(fields[name]))

    def to_dict(self) -> dict[str, Any]:
        """The sums as plain JSON types; money as strings of US$."""
        counts = {name: getattr(self, name) for name in _COUNTS}
        return counts | {name: plain_digits(getattr(self, name)) for name in _AMOUNTS}


_COUNTS = tuple(field.name for field in fields_of(Sums) if field.type == "int")
_AMOUNTS = tuple(field.name for field in fields_of(Sums) if field.type == "Decimal")


def counts_of(record: CallRecord) -> Counts:
    """The counts and tokens of a record that are not 0."""
    counts = [
        ("refusals", record.refusals),
        ("possibly_billed_attempts", record.possibly_billed_attempts),
    ]
    if record.usage is not None:
        counts += record.usage.to_dict().items()
    counts = [(name, count) for name, count in counts if count]
    if not record.answered:
        return [("failed_calls", 1), *counts]
    counts.append(("calls", 1))
    if record.fallback is not None:
        counts.append(("fallback_calls", 1))
    if record.cost.basis != "exact":
        counts.append((f"{record.cost.basis}_calls", 1))
    return counts


def amounts_of(record: CallRecord) -> Amounts:
    """The amounts of a record that are known and not 0."""
    cost = record.cost.total
    standard = record.cost.standard
    saved = None if cost is None or standard is None else difference(standard, cost)
    premium, possibly = record.premium, record.possibly_billed
    return _known(cost, standard, saved, premium, possibly)


def _known(*amounts: Decimal | None) -> Amounts:
    return [(name, amount) for name, amount in zip(_AMOUNTS, amounts, strict=False) if amount]


def of_report(report: CallReport) -> tuple[Counts, Amounts]:
    """The counts and amounts of a report's record, which most calls need not be made for."""
    attempts, usage, totals = report.attempts, report.usage, None
    is_plain = len(attempts) == 1 and attempts[0].outcome == SERVED and report.fallback is None
    if is_plain and usage is not None and not report.usage_estimated:
        totals = exact_totals(usage, report.models, report.lane, report.at)
    if usage is None or totals is None:
        record = record_of(report)
        return counts_of(record), amounts_of(record)
    cost, standard = totals
    counts = [(name, count) for name, count in usage.to_dict().items() if count]
    return [*counts, ("calls", 1)], _known(cost, standard, difference(standard, cost))
