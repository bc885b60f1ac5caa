"""The flex lane: OpenAI's half-price service tier.

Source: https://developers.openai.com/api/docs/guides/flex-processing
"""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal

from flextier.lanes.base import Lane
from flextier.lanes.failures import Failure
from flextier.lanes.models_with_windows import AFTER_FLEX, is_after_flex
from flextier.lanes.price_rule import PriceRule

# `flex_unavailable` is the current code, `resource_unavailable` that of older texts (and still the
# error's type); 498 `capacity_exceeded` is Groq's code for the same thing.
_REFUSALS = frozenset({"flex_unavailable", "resource_unavailable", "capacity_exceeded"})
# A 400 may quote the request, in which "flex" can mean anything; a 403 does not.
_TIER = re.compile(r"service[_ ]tier|\bflex (processing|tier|service)", re.IGNORECASE)

_FORBIDDEN = re.compile(r"service[_ ]tier|\bflex\b", re.IGNORECASE)

OPEN_TIERS = frozenset({None, "auto", "flex"})
"""Values of ``service_tier`` that leave the choice to flextier; any other is the caller's."""


class FlexLane(Lane):
    """About half the list price; may refuse with 429, may stall."""

    __slots__ = ()  # it adds no fields

    def lacks(self, model: str) -> str | None:
        return f"{model} has no flex, by {AFTER_FLEX}" if is_after_flex(model) else None

    def refuses(self, failure: Failure) -> bool:
        return failure.code in _REFUSALS or failure.type in _REFUSALS

    def unsupported(self, failure: Failure) -> bool:
        """A 4xx about the tier itself: the model has no flex, or the project has it disabled.

        Without a status: the first event of a stream, which says the same as a 400.
        """
        if failure.status not in (None, 400, 403, 404, 422):
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
    price=PriceRule(
        share=Decimal("0.5"),  # the guide: tokens cost what Batch costs
        listed_as={"service_tier": "flex"},
        since=date(2025, 4, 17),
    ),
    # copilot-cli#4821
    takes="4 to 28 % longer than standard, as reported of two models; minutes when it is full",
    colors=("#0f766e", "#2fb7a3"),
)
