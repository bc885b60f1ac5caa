"""The background lanes: Responses within hours, at a discount; flex in the background.

A response with a window of two hours costs 30 % less than standard, one of eight hours 40 % less.
The window is a target, not a promise.

Source: https://developers.openai.com/api/docs/guides/background
"""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal
from typing import Any

from flextier.lanes.base import RAW_BODY, CallFacts, Lane, Window
from flextier.lanes.failures import Failure
from flextier.lanes.flex import FLEX, FlexLane
from flextier.lanes.responses_api import chat_only
from flextier.lanes.standard import STANDARD

ENDPOINT = "/responses"
"""The endpoint of background responses."""

OPTIONS = "background_options"

WINDOWS: dict[Window, float] = {"soonest": 0.0, "2h": 7_200.0, "8h": 28_800.0}
"""Seconds within which OpenAI aims to respond; ``soonest`` has no such target."""

_MAX_SECONDS: dict[Window, float] = {"soonest": 3_600.0, "2h": 10_800.0, "8h": 43_200.0}
"""The most seconds of an attempt if ``background_timeout`` is None: one and a half windows."""

_PRICE_SHARES: dict[Window, Decimal] = {
    "soonest": Decimal(1),
    "2h": Decimal("0.7"),
    "8h": Decimal("0.6"),
}
"""The share of the standard price: the guide's table of windows."""

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


def _lane(window: Window) -> BackgroundLane:
    return BackgroundLane(
        name=f"background-{window}",
        service_tier=STANDARD.service_tier,
        served_as=STANDARD.served_as,
        timeout_field="background_timeout",
        max_seconds=_MAX_SECONDS[window],
        execution="background",
        window=window,
        price_share=_PRICE_SHARES[window],
    )


BACKGROUND: dict[Window, BackgroundLane] = {window: _lane(window) for window in WINDOWS}
"""The lane of each window."""

BACKGROUND_FLEX = BackgroundFlexLane(
    name=FLEX.name,
    service_tier=FLEX.service_tier,
    timeout_field=FLEX.timeout_field,
    queues=True,
    execution="background",
    window="soonest",
    registered_as="flex in the background",
    price_share=FLEX.price_share,
    fallback_variant=FLEX,
)
"""The flex lane of ``FlexPolicy.flex_background``."""


def with_whole_window(lane: Lane) -> Lane:
    """The lane for calls that begin on it only if its whole window is left."""
    return lane if lane.window is None else replace(lane, min_seconds=WINDOWS[lane.window])
