"""Service tiers that OpenAI serves and prices, and that no policy names: a caller requests them.

Source: https://developers.openai.com/api/docs/guides/priority-processing
"""

from __future__ import annotations

from flextier.lanes.base import Lane
from flextier.lanes.price_rule import PriceRule


def _tier(name: str, price: PriceRule) -> Lane:
    return Lane(name=name, service_tier=name, price=price)


PRIORITY = _tier("priority", PriceRule(listed_as={"service_tier": "priority"}))
FAST = _tier("fast", PriceRule(listed_as={"service_tier": "fast"}))
"""Another name under which priority is requested."""
SCALE = _tier("scale", PriceRule(unpriced="scale tier is bought in units, not by the token"))
