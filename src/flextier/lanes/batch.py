"""The batch lane: half price for calls that can wait up to 24 hours.

Source: https://developers.openai.com/api/docs/guides/batch
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

from flextier.lanes.base import CallFacts, Lane
from flextier.lanes.failures import Failure
from flextier.lanes.models_with_windows import is_after_flex
from flextier.lanes.price_rule import PriceRule

MODEL_ERROR = "batch_model_error"
"""The ``type`` of an error made here: the model has no batch lane."""

LINE_ERROR = "batch_line_error"
"""The ``type`` of an error made here: the call cannot be a line of a batch."""

_ENDPOINTS = frozenset({"/chat/completions", "/responses"})

AUTO_MIN_CALLS = 10
"""The fewest calls made at once that are worth a batch to ``lanes="auto"``."""


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

    def lacks(self, model: str) -> str | None:
        return "" if is_after_flex(model) else None

    def for_auto(self) -> Lane | None:
        return replace(self, min_calls=AUTO_MIN_CALLS)

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
    price=PriceRule(
        share=Decimal("0.5"),
        listed_as={"processing": "batch"},
        since=date(2024, 4, 15),
        # https://ai.google.dev/gemini-api/docs/pricing. OpenAI does not: "Discounting for Prompt
        # Caching is not available on the Batch API" (its prompt-caching guide, of models whose
        # batch table has no cached rate).
        cached_at_standard=frozenset({"google"}),
    ),
    takes="minutes at the median, at times 8 to 24 h",
    colors=("#4f6bbd", "#8ba3ee"),
    auto_min_deadline=6 * 3600.0,  # calls that are not done in time fall back to the next lane
)
