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

_ZERO = Decimal(0)


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

    def _plus(self, other: Sums) -> None:
        """Add other sums."""
        # A loop over the names takes three times as long, three times a call.
        self.calls += other.calls
        self.failed_calls += other.failed_calls
        self.fallback_calls += other.fallback_calls
        self.refusals += other.refusals
        self.possibly_billed_attempts += other.possibly_billed_attempts
        self.unpriced_calls += other.unpriced_calls
        self.estimated_calls += other.estimated_calls
        self.input_tokens += other.input_tokens
        self.cached_input_tokens += other.cached_input_tokens
        self.cache_write_tokens += other.cache_write_tokens
        self.output_tokens += other.output_tokens
        self.reasoning_tokens += other.reasoning_tokens
        self.cost = added(self.cost, other.cost)
        self.standard_cost = added(self.standard_cost, other.standard_cost)
        self.saved = added(self.saved, other.saved)
        self.fallback_premium = added(self.fallback_premium, other.fallback_premium)
        self.possibly_billed = added(self.possibly_billed, other.possibly_billed)

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


def of_record(record: CallRecord) -> Sums:
    """The sums of one call."""
    cost, standard = record.cost.total, record.cost.standard
    return Sums(
        calls=int(record.answered),
        failed_calls=int(not record.answered),
        fallback_calls=int(record.answered and record.fallback is not None),
        refusals=record.refusals,
        possibly_billed_attempts=record.possibly_billed_attempts,
        unpriced_calls=int(record.answered and record.cost.basis == "unpriced"),
        estimated_calls=int(record.answered and record.cost.basis == "estimated"),
        **({} if record.usage is None else record.usage.to_dict()),
        cost=cost or _ZERO,
        standard_cost=standard or _ZERO,
        saved=_ZERO if cost is None or standard is None else difference(standard, cost),
        fallback_premium=record.premium or _ZERO,
        possibly_billed=record.possibly_billed or _ZERO,
    )


def of_report(report: CallReport) -> Sums:
    """The sums of one call by its report, whose record need not be made for most calls."""
    attempts, usage, totals = report.attempts, report.usage, None
    is_plain = len(attempts) == 1 and attempts[0].outcome == SERVED and report.fallback is None
    if is_plain and usage is not None and not report.usage_estimated:
        totals = exact_totals(usage, report.models, report.lane, report.at)
    if usage is None or totals is None:
        return of_record(record_of(report))
    cost, standard = totals
    return Sums(
        calls=1,
        input_tokens=usage.input_tokens,
        cached_input_tokens=usage.cached_input_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        output_tokens=usage.output_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cost=cost,
        standard_cost=standard,
        saved=difference(standard, cost),
    )
