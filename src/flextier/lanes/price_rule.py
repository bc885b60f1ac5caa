"""How a lane is priced; what the tokens of a call cost is worked out in ``flextier.pricing``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class PriceRule:
    """Where a lane's rates are listed, and its price where they are not."""

    share: Decimal | None = None
    """Its price as a share of OpenAI's standard price, where no rate of the lane is listed. None:
    without a listed rate it has no price."""
    listed_as: Mapping[str, str] = field(default_factory=dict, hash=False)
    """The ``price_context`` that selects its rates in genai-prices; empty: none are listed."""
    since: date = date.min
    """The day OpenAI began to sell it."""
    all_models_source: str = ""
    """Where OpenAI says that the discount applies to every model: then no rate of the lane has to
    be listed. Empty: it applies only to models that have a listed rate for the lane."""
    cached_at_standard: frozenset[str] = frozenset()
    """Vendors that bill cached input at standard's rate unless they list another."""
    unpriced: str = ""
    """Why it has no price by the token."""

    @property
    def is_standard(self) -> bool:
        """Whether it always costs what standard costs."""
        return self.share == 1 and not self.listed_as


NO_PRICE = PriceRule()
"""The rule of a lane whose price is not known."""
