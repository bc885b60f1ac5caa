"""The flex lane: OpenAI's half-price service tier.

Source: https://developers.openai.com/api/docs/guides/flex-processing
"""

from __future__ import annotations

import re
from decimal import Decimal

from flextier.lanes.base import Lane
from flextier.lanes.failures import Failure

# `flex_unavailable` is the current code, `resource_unavailable` that of older texts (and still the
# error's type); 498 `capacity_exceeded` is Groq's code for the same thing.
_REFUSALS = frozenset({"flex_unavailable", "resource_unavailable", "capacity_exceeded"})
# A 400 may quote the request, in which "flex" can mean anything; a 403 does not.
_TIER = re.compile(r"service[_ ]tier|\bflex (processing|tier|service)", re.IGNORECASE)

_FORBIDDEN = re.compile(r"service[_ ]tier|\bflex\b", re.IGNORECASE)


class FlexLane(Lane):
    """About half the list price; may refuse with 429, may stall."""

    __slots__ = ()  # it adds no fields

    def refuses(self, failure: Failure) -> bool:
        return failure.code in _REFUSALS or failure.type in _REFUSALS

    def unsupported(self, failure: Failure) -> bool:
        """A 4xx about the tier itself: the model has no flex, or the project has it disabled."""
        if failure.status not in (400, 403, 404, 422):
            return False
        if failure.param is not None:
            return failure.param == "service_tier"
        if failure.status == 404:  # its message could be about a model with flex in its name
            return False
        words = _FORBIDDEN if failure.status == 403 else _TIER
        return words.search(failure.message) is not None


FLEX = FlexLane(
    name="flex",
    service_tier="flex",
    timeout_field="flex_timeout",
    queues=True,
    price_share=Decimal("0.5"),  # the guide: tokens cost what Batch costs
)
