"""A lane of direct calls with a service tier of its own, 20 % below standard."""

from __future__ import annotations

from decimal import Decimal

from flextier.lanes.base import CallFacts, Lane
from flextier.lanes.price_rule import PriceRule


class SaverLane(Lane):
    """Four fifths of the list price; Responses only."""

    __slots__ = ()  # it adds no fields

    def ineligible(self, facts: CallFacts) -> str:
        return "" if facts.endpoint == "/responses" else "saver needs the Responses API"


SAVER = SaverLane(
    name="saver",
    service_tier="saver",
    price=PriceRule(share=Decimal("0.8"), all_models_source="https://saver.invalid"),
    takes="half a minute",
    colors=("#102030", "#a0b0c0"),
)
