"""The background lanes: Responses within hours, at a discount; flex in the background.

A response with a window of two hours costs 30 % less than standard, one of eight hours 40 % less.
The window is a target, not a promise.

Source: https://developers.openai.com/api/docs/guides/background
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any, Literal

from flextier.lanes.base import RAW_BODY, CallFacts, Lane
from flextier.lanes.failures import Failure
from flextier.lanes.flex import FLEX, FlexLane
from flextier.lanes.models_with_windows import has_windows
from flextier.lanes.price_rule import PriceRule
from flextier.lanes.responses_api import chat_only
from flextier.lanes.standard import STANDARD

Window = Literal["soonest", "2h", "8h"]
"""What the Responses API calls a completion window."""

ANY_WINDOW = "background"
"""In ``FlexPolicy.lanes``: the background lane of ``FlexPolicy.background_window``."""

ENDPOINT = "/responses"
"""The endpoint of background responses."""

OPTIONS = "background_options"

_BACKGROUND_ERROR = re.compile(
    r"\bbackground\b|completion[_ ]window|zero data retention", re.IGNORECASE
)
_MODEL_ERROR = re.compile(r"not supported|unsupported|not available|retention", re.IGNORECASE)


def sets_background(facts: CallFacts) -> bool:
    """Whether the call sets ``background`` or a completion window of its own."""
    options = facts.body.get(OPTIONS) or {}
    return facts.body.get("background") is not None or "completion_window" in options


def _is_about_background(failure: Failure) -> bool:
    if failure.status not in (400, 403, 422):
        return False
    if failure.param is not None:
        return failure.param.startswith("background")
    return _BACKGROUND_ERROR.search(failure.message) is not None


def _applies_to_model(failure: Failure) -> bool:
    """Whether every call of the model would fail with it."""
    return failure.code == "unsupported_value" or _MODEL_ERROR.search(failure.message) is not None


class BackgroundLane(Lane):
    """Below list price; accepted at once, and done within a window."""

    __slots__ = ()  # it adds no fields

    def ineligible(self, facts: CallFacts) -> str:
        if facts.endpoint != ENDPOINT:
            lacking = ", ".join(chat_only(facts.body))
            return "background responses need the Responses API" + (
                f", which has no {lacking}"
                if lacking
                else " (LangChain: use_responses_api=True, LlamaIndex: OpenAIResponsesFlex)"
            )
        if sets_background(facts):
            return "the call itself sets background or completion_window"
        return f"a background response has no {RAW_BODY}" if facts.extras == RAW_BODY else ""

    def lacks(self, model: str) -> str | None:
        if has_windows(model):
            return ""
        return f"whether {model} has {self.feature} is unknown (set FlexPolicy.lane_support)"

    def for_auto(self) -> Lane | None:
        if not self.window_seconds:
            return None
        return replace(self, min_seconds=self.window_seconds)  # it begins only if all of it is left

    def unsupported(self, failure: Failure) -> bool:
        return _is_about_background(failure)

    def unsupported_by_model(self, failure: Failure) -> bool:
        return _applies_to_model(failure)

    def fields(self, run: str | None) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if self.window != "soonest":
            options["completion_window"] = self.window
        if run is not None:
            options["continuation_id"] = run
        return {"background": True, **({OPTIONS: options} if options else {})}


class BackgroundFlexLane(FlexLane):
    """Flex as a background response: polled, so no silent connection can be cut."""

    __slots__ = ()  # it adds no fields

    def ineligible(self, facts: CallFacts) -> str:
        if facts.endpoint != ENDPOINT:
            return f"{facts.endpoint} has no background responses"
        if facts.streamed or facts.extras == RAW_BODY or sets_background(facts):
            return "the call is streamed, raw, or sets background itself"
        return ""

    def unsupported(self, failure: Failure) -> bool:
        return _is_about_background(failure) or super().unsupported(failure)

    def unsupported_by_model(self, failure: Failure) -> bool:
        return not _is_about_background(failure) or _applies_to_model(failure)

    def fields(self, run: str | None) -> dict[str, Any]:
        return {"background": True}


_GUIDE = "https://developers.openai.com/api/docs/guides/background"
# The windows came with GPT-6.2, whose page names them: on 6 November 2026 the guide had none.
_SINCE = date(2026, 11, 17)


def _lane(window: Window, hours: int, share: str) -> BackgroundLane:
    # "The discount applies to model token rates on each eligible request", those of cached input
    # and cache writes among them. The table shows none for `soonest`, which has no target, either.
    listed_as = {"completion_window": window} if hours else {}
    return BackgroundLane(
        name=f"{ANY_WINDOW}-{window}",
        service_tier=STANDARD.service_tier,
        served_as=STANDARD.served_as,
        timeout_field="background_timeout",
        max_seconds=5400.0 * hours or 3600.0,
        execution="background",
        window=window,
        window_seconds=3600.0 * hours,
        price=PriceRule(Decimal(share), listed_as, _SINCE, _GUIDE if hours else ""),
        family=ANY_WINDOW,
        feature="completion windows",
        takes=f"within {hours} h (a target)" if hours else "no target is stated",
        colors=("#8a4fb0", "#c596e6"),
    )


BACKGROUND: dict[Window, BackgroundLane] = {
    "soonest": _lane("soonest", 0, "1"),
    "2h": _lane("2h", 2, "0.7"),
    "8h": _lane("8h", 8, "0.6"),
}
"""The lane of each window."""

BACKGROUND_FLEX = BackgroundFlexLane(
    name=FLEX.name,
    service_tier=FLEX.service_tier,
    timeout_field=FLEX.timeout_field,
    queues=True,
    execution="background",
    window="soonest",
    registered_as="flex in the background",
    price=FLEX.price,
    takes=FLEX.takes,
    colors=FLEX.colors,
    fallback_variant=FLEX,
)
"""The flex lane of ``FlexPolicy.flex_background``."""
