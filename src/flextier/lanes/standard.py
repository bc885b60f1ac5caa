"""The standard lane: list price, no restrictions."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from flextier.lanes.base import Lane
from flextier.lanes.price_rule import PriceRule

# Set explicitly: without the field, the project's default applies, which may cost more.
STANDARD = Lane(
    name="standard",
    service_tier="default",
    served_as=frozenset({"auto", "standard"}),
    price=PriceRule(share=Decimal(1)),
    takes="seconds",
    colors=("#c2571a", "#f0955a"),
)

STOCK = replace(STANDARD, service_tier="", limited=False)
"""Standard as the stock classes send it: without the field, at once, with the SDK's retries."""
