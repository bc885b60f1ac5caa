"""Cost: what the tokens of one call cost on the lane that served it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from flextier.pricing.decimals import difference, total, written
from flextier.pricing.rates import Rates

Basis = Literal["exact", "estimated", "unpriced"]
"""How far a cost is to be trusted: at published rates; by a rule; not at all."""


@dataclass(frozen=True, slots=True)
class Cost:
    """US$ for one call's tokens. Unpriced, every amount is None: unknown is not zero."""

    model: str
    """The model as it was asked about."""
    lane: str
    """The lane it was priced on."""
    basis: Basis
    """``"exact"``: rates that the vendor published. ``"estimated"``: a rule stands in for some of
    them. ``"unpriced"``: no price is known, and all amounts are None."""
    reason: str | None = None
    """Why it is not exact."""
    priced_as: str | None = None
    """The entry of the price list that the rates are of, as ``vendor/model``."""
    rates: Rates | None = None
    """The rates it was priced at, US$ per million tokens."""
    input: Decimal | None = None
    """For input that was neither read from a cache nor written to one."""
    cached_input: Decimal | None = None
    """For input read from a cache."""
    cache_write: Decimal | None = None
    """For input written to a cache."""
    output: Decimal | None = None
    """For output, reasoning included."""
    standard: Decimal | None = None
    """What the standard lane would have cost for the same tokens. None also where the call has a
    price and the standard lane has none."""

    @property
    def total(self) -> Decimal | None:
        """The parts together."""
        parts = (self.input, self.cached_input, self.cache_write, self.output)
        known = [part for part in parts if part is not None]
        return total(known) if len(known) == len(parts) else None

    @property
    def saved(self) -> Decimal | None:
        """``standard`` less ``total``; negative on a dearer lane."""
        whole = self.total
        if whole is None or self.standard is None:
            return None
        return difference(self.standard, whole)

    def to_dict(self) -> dict[str, Any]:
        """The cost as plain JSON types; money in plain digits."""
        return {
            "model": self.model,
            "lane": self.lane,
            "basis": self.basis,
            "reason": self.reason,
            "priced_as": self.priced_as,
            "rates": None if self.rates is None else self.rates.to_dict(),
            "input": _digits(self.input),
            "cached_input": _digits(self.cached_input),
            "cache_write": _digits(self.cache_write),
            "output": _digits(self.output),
            "total": _digits(self.total),
            "standard": _digits(self.standard),
            "saved": _digits(self.saved),
        }


def _digits(amount: Decimal | None) -> str | None:
    return None if amount is None else written(amount)
