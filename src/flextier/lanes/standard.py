"""The standard lane: list price, no restrictions."""

from __future__ import annotations

from decimal import Decimal

from flextier.lanes.base import Lane

# Set explicitly: without the field, the project's default applies, which may cost more.
STANDARD = Lane(
    name="standard",
    service_tier="default",
    served_as=frozenset({"auto", "standard"}),
    price_share=Decimal(1),
)
