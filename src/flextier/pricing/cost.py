"""Cost: what the tokens of one call cost on the lane that served it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal

from flextier.pricing.decimals import (
    difference,
    optional_digits,
    total_dollars,
    total_if_known,
)
from flextier.pricing.rates import Rates
from flextier.pricing.usage import Usage

Basis = Literal["exact", "estimated", "unpriced"]
"""How reliable a cost is: published rates, an estimate by a rule, or no price."""

USAGE_ESTIMATED = (
    "the stream did not report its usage: tokens are estimated by its text, without reasoning"
)


@dataclass(frozen=True, slots=True)
class Cost:
    """US$ for one call's tokens. If unpriced, every amount is None: unknown is not zero."""

    model: str
    """The model, by the name that was looked up."""
    lane: str
    """The lane it was priced on."""
    basis: Basis
    """``"exact"``: at the vendor's published rates. ``"estimated"``: some rates follow from a rule.
    ``"unpriced"``: no price is known, and all amounts are None."""
    reason: str | None = None
    """Why it is not exact; None: it is."""
    priced_as: str | None = None
    """The price list's entry whose rates were used, as ``vendor/model``."""
    rates: Rates | None = None
    """The rates that were used, US$ per million tokens."""
    input: Decimal | None = None
    """For input that was neither read from a cache nor written to one."""
    cached_input: Decimal | None = None
    """For input read from a cache."""
    cache_write: Decimal | None = None
    """For input written to a cache."""
    output: Decimal | None = None
    """For output, reasoning included."""
    standard: Decimal | None = None
    """The cost of the same tokens on the standard lane. None if that lane has no price, even where
    the call has one."""

    @property
    def total(self) -> Decimal | None:
        """The sum of the parts; None if one is unknown."""
        return total_if_known((self.input, self.cached_input, self.cache_write, self.output))

    @property
    def all_input(self) -> Decimal | None:
        """For all input, from a cache or not; None if a part is unknown."""
        return total_if_known((self.input, self.cached_input, self.cache_write))

    @property
    def saved(self) -> Decimal | None:
        """``standard`` minus ``total``; negative on a lane that costs more."""
        cost = self.total
        return None if cost is None or self.standard is None else difference(self.standard, cost)

    def to_dict(self) -> dict[str, Any]:
        """The cost as plain JSON types; amounts as plain digits."""
        return {
            "model": self.model,
            "lane": self.lane,
            "basis": self.basis,
            "reason": self.reason,
            "priced_as": self.priced_as,
            "rates": None if self.rates is None else self.rates.to_dict(),
            **{name: optional_digits(getattr(self, name)) for name in _AMOUNTS},
        }


PARTS = ("input", "cached_input", "cache_write", "output")
"""The parts of a cost; ``input`` is uncached."""
_AMOUNTS = (*PARTS, "total", "standard", "saved")


def parts_of(rates: Rates, usage: Usage) -> dict[str, tuple[Decimal, int]]:
    """Rate and tokens of each of ``PARTS``."""
    cached, written = usage.cached_input_tokens, usage.cache_write_tokens
    return {
        "input": (rates.input, usage.input_tokens - cached - written),
        "cached_input": (rates.cached_input, cached),
        "cache_write": (rates.cache_write, written),
        "output": (rates.output, usage.output_tokens),
    }


def total_of(rates: Rates, usage: Usage) -> Decimal:
    """The total cost of a usage at rates."""
    return total_dollars(parts_of(rates, usage).values())


def of_estimated_usage(cost: Cost) -> Cost:
    """The cost, if its tokens are an estimate."""
    if cost.basis == "unpriced":
        return cost
    reason = "; ".join(filter(None, (USAGE_ESTIMATED, cost.reason)))
    return replace(cost, basis="estimated", reason=reason)
