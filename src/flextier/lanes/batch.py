"""The batch lane: half price for calls that can wait up to 24 hours.

Source: https://developers.openai.com/api/docs/guides/batch
"""

from __future__ import annotations

from decimal import Decimal

from flextier.lanes.base import CallFacts, Lane
from flextier.lanes.failures import Failure

MODEL_ERROR = "batch_model_error"
"""The ``type`` of an error made here: the model has no batch lane."""

LINE_ERROR = "batch_line_error"
"""The ``type`` of an error made here: the call cannot be a line of a batch."""

_ENDPOINTS = frozenset({"/chat/completions", "/responses"})


class BatchLane(Lane):
    """Half the list price; calls are grouped into batches, responses come within 24 hours."""

    __slots__ = ()  # it adds no fields

    def ineligible(self, facts: CallFacts) -> str:
        if facts.endpoint not in _ENDPOINTS:
            return f"the Batch API does not support {facts.endpoint}"
        if facts.streamed:
            return "the Batch API has no streams"
        if facts.body.get("background"):
            return "the Batch API has no background responses"
        if facts.extras:
            return f"a batch line cannot carry {facts.extras}"
        return ""

    def unsupported(self, failure: Failure) -> bool:
        return failure.type in (MODEL_ERROR, LINE_ERROR)

    def unsupported_by_model(self, failure: Failure) -> bool:
        return failure.type == MODEL_ERROR


BATCH = BatchLane(
    name="batch",
    service_tier="batch",
    timeout_field=None,
    reserve_field="batch_reserve",
    gather_field="batch_window",
    execution="batch",
    price_share=Decimal("0.5"),
)
