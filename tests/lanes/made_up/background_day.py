"""A completion window of a day, at 45 % of the standard price."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from flextier.lanes.background_windows import BACKGROUND
from flextier.lanes.price_rule import PriceRule

BACKGROUND_DAY = replace(
    BACKGROUND["8h"],
    name="background-24h",
    window="24h",
    window_seconds=86_400.0,
    max_seconds=129_600.0,
    price=PriceRule(share=Decimal("0.45"), all_models_source="https://window.invalid"),
    takes="within a day",
)
