"""A batch lane at 40 % of the standard price, for Responses only."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from flextier.lanes.batch import BATCH
from flextier.lanes.price_rule import PriceRule

SLOW_BATCH = replace(
    BATCH,
    name="slow-batch",
    service_tier="slow-batch",
    family="slow-batch",
    feature="slow batches",
    price=PriceRule(share=Decimal("0.4"), all_models_source="https://batch.invalid"),
    auto_min_deadline=7 * 86_400.0,
)
