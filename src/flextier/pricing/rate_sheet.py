"""A rate sheet: one model's rates on one lane, on one day, next to the standard rates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from flextier.pricing.cost import Cost, parts_of, total_of
from flextier.pricing.decimals import dollars
from flextier.pricing.rates import Rates
from flextier.pricing.usage import Usage


@dataclass(frozen=True, slots=True)
class RateBand:
    """The rates for a range of prompt lengths: they apply to all tokens of a call in it."""

    above: int
    """It applies to prompts of more input tokens than this, up to the start of the next band."""
    rates: Rates | None
    """The lane's rates; None: unknown."""
    standard: Rates | None
    """The standard rates; None: unknown."""
    reason: str | None = None
    """Why the rates are estimated or unknown; None: they are the vendor's."""
    estimated_parts: Mapping[str, str] = field(default_factory=dict)
    """Parts of a cost whose rate is an estimate, with the reason; others of the call are exact."""

    def unpriced(self, reason: str) -> RateBand:
        """The band without rates, and the reason."""
        return replace(self, rates=None, reason=reason, estimated_parts={})


@dataclass(frozen=True, slots=True)
class RateSheet:
    """The rates of a model on a lane, for any prompt length; computes costs."""

    model: str
    lane: str
    bands: tuple[RateBand, ...]
    """By ``above``, highest first; the last one applies to all prompts that no other covers."""
    priced_as: str | None = None
    """As :attr:`Cost.priced_as`."""

    def band(self, input_tokens: int) -> RateBand:
        """The band for a prompt of that length."""
        for band in self.bands:
            if input_tokens > band.above:
                return band
        return self.bands[-1]

    def cost(self, usage: Usage) -> Cost:
        """The cost of a usage, which :meth:`Usage.check` has accepted."""
        band = self.band(usage.input_tokens)
        if band.rates is None:
            return Cost(self.model, self.lane, "unpriced", band.reason, self.priced_as)
        reasons = [band.reason] if band.reason else []
        for part, reason in band.estimated_parts.items():
            if getattr(usage, f"{part}_tokens"):
                reasons.append(reason)
        standard = band.standard
        return Cost(
            self.model,
            self.lane,
            "estimated" if reasons else "exact",
            "; ".join(reasons) or None,
            self.priced_as,
            band.rates,
            **{part: dollars(*one) for part, one in parts_of(band.rates, usage).items()},
            standard=None if standard is None else total_of(standard, usage),
        )


def unpriced(model: str, lane: str, reason: str, priced_as: str | None = None) -> RateSheet:
    """A sheet without rates, and the reason."""
    return RateSheet(model, lane, (RateBand(0, None, None, reason),), priced_as)
