"""A price sheet: one model's rates on one lane, on one day, next to the standard ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from flextier.pricing.cost import Cost
from flextier.pricing.decimals import dollars, dollars_in_all
from flextier.pricing.rates import Rates
from flextier.pricing.usage import Usage


@dataclass(frozen=True, slots=True)
class RateBand:
    """The rates of prompts of some lengths: the whole call is billed at them."""

    above: int
    """It is for prompts of more input tokens than this, up to where the next band begins."""
    rates: Rates | None
    """The lane's rates; None: not known."""
    standard: Rates | None
    """The standard rates; None: not known."""
    reason: str | None = None
    """Why the rates are estimated, or not known; None: they are the vendor's."""
    doubts: Mapping[str, str] = field(default_factory=dict)
    """Why the rate of one part of a cost is estimated; it matters to calls that have that part."""


@dataclass(frozen=True, slots=True)
class RateSheet:
    """What turns a usage into a cost."""

    model: str
    lane: str
    bands: tuple[RateBand, ...]
    """Longest prompts first; the last one is for all that the others are not for."""
    priced_as: str | None = None

    def band(self, input_tokens: int) -> RateBand:
        """The rates for a prompt of that length."""
        for band in self.bands:
            if input_tokens > band.above:
                return band
        return self.bands[-1]

    def cost(self, usage: Usage) -> Cost:
        """The cost of a usage that has been checked."""
        band = self.band(usage.input_tokens)
        if band.rates is None:
            return Cost(self.model, self.lane, "unpriced", band.reason, self.priced_as)
        reasons = [band.reason] if band.reason else []
        if band.doubts:
            reasons += [
                why for part, why in band.doubts.items() if getattr(usage, f"{part}_tokens")
            ]
        plain, cached, write, output = (dollars(*part) for part in _parts(band.rates, usage))
        standard = band.standard
        return Cost(
            model=self.model,
            lane=self.lane,
            basis="estimated" if reasons else "exact",
            reason="; ".join(reasons) or None,
            priced_as=self.priced_as,
            rates=band.rates,
            input=plain,
            cached_input=cached,
            cache_write=write,
            output=output,
            standard=None if standard is None else dollars_in_all(_parts(standard, usage)),
        )


def unpriced(model: str, lane: str, reason: str, priced_as: str | None = None) -> RateSheet:
    """The sheet of what has no price."""
    return RateSheet(model, lane, (RateBand(0, None, None, reason),), priced_as)


def _parts(rates: Rates, usage: Usage) -> tuple[tuple[Decimal, int], ...]:
    """Rate and tokens of input, cached input, cache write, output."""
    cached, written = usage.cached_input_tokens, usage.cache_write_tokens
    return (
        (rates.input, usage.input_tokens - cached - written),
        (rates.cached_input, cached),
        (rates.cache_write, written),
        (rates.output, usage.output_tokens),
    )
