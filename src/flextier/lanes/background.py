"""The background lanes: Responses within hours, for less. Polling is not their concern.

A response with a window of two hours costs 30 % less than standard, one of eight hours 40 % less.
The window is a target, not a promise. The only file that knows them on the wire.

Source: https://developers.openai.com/api/docs/guides/background
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from flextier.lanes.base import RAW_BODY, CallFacts, Lane, Window
from flextier.lanes.failures import Failure
from flextier.lanes.flex import FLEX, FlexLane
from flextier.lanes.standard import STANDARD

ENDPOINT = "/responses"
"""The only endpoint that has background responses."""

OPTIONS = "background_options"

WINDOWS: dict[Window, float] = {"soonest": 0.0, "2h": 7_200.0, "8h": 28_800.0}
"""Seconds within which OpenAI aims to answer; ``soonest`` has no such aim."""

_LONGEST: dict[Window, float] = {"soonest": 3_600.0, "2h": 10_800.0, "8h": 43_200.0}
"""Seconds after which a response is given up where no knob says so: half a window too late."""

_WORDS = re.compile(r"\bbackground\b|completion[_ ]window|zero data retention", re.IGNORECASE)
_FOR_ALL = re.compile(r"not supported|unsupported|not available|retention", re.IGNORECASE)


def asks_itself(asked: CallFacts) -> bool:
    """Whether the caller has said itself whether, or within which window, it is to be made so."""
    options = asked.body.get(OPTIONS) or {}
    return asked.body.get("background") is not None or "completion_window" in options


def _is_about_background(failure: Failure) -> bool:
    if failure.status not in (400, 403, 422):
        return False
    if failure.param is not None:
        return failure.param.startswith("background")
    return _WORDS.search(failure.message) is not None


def _is_for_all(failure: Failure) -> bool:
    """Whether every call of the model would be told so."""
    return failure.code == "unsupported_value" or _FOR_ALL.search(failure.message) is not None


class BackgroundLane(Lane):
    """Less than the list price; accepted at once, and done within a window."""

    __slots__ = ()  # no dataclass of its own: it has no field more

    def ineligible(self, asked: CallFacts) -> str:
        if asked.endpoint != ENDPOINT:
            return (
                "background responses are for the Responses API (LangChain: "
                "use_responses_api=True, LlamaIndex: OpenAIResponsesFlex)"
            )
        if asks_itself(asked):
            return "the call says itself whether it is to be made in the background"
        return f"a background response has no {RAW_BODY}" if asked.extras == RAW_BODY else ""

    def unsupported(self, failure: Failure) -> bool:
        return _is_about_background(failure)

    def unsupported_by_model(self, failure: Failure) -> bool:
        return _is_for_all(failure)

    def fields(self, run: str | None) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if self.window != "soonest":
            options["completion_window"] = self.window
        if run is not None:
            options["continuation_id"] = run
        return {"background": True, **({OPTIONS: options} if options else {})}


class BackgroundFlexLane(FlexLane):
    """Flex, accepted at once and asked about: no connection that may be cut while it is silent."""

    __slots__ = ()  # no dataclass of its own: it has no field more

    def ineligible(self, asked: CallFacts) -> str:
        if asked.endpoint != ENDPOINT:
            return f"{asked.endpoint} has no background responses"
        if asked.streamed or asked.extras == RAW_BODY or asks_itself(asked):
            return "the caller reads it as it comes"
        return ""

    def unsupported(self, failure: Failure) -> bool:
        return _is_about_background(failure) or super().unsupported(failure)

    def unsupported_by_model(self, failure: Failure) -> bool:
        return not _is_about_background(failure) or _is_for_all(failure)

    def fields(self, run: str | None) -> dict[str, Any]:
        return {"background": True}


def _lane(window: Window) -> BackgroundLane:
    return BackgroundLane(
        name=f"background-{window}",
        service_tier=STANDARD.service_tier,
        served_as=STANDARD.served_as,
        timeout_field="background_timeout",
        max_seconds=_LONGEST[window],
        window=window,
    )


BACKGROUND: dict[Window, BackgroundLane] = {window: _lane(window) for window in WINDOWS}
"""The lane of each window."""

BACKGROUND_FLEX = BackgroundFlexLane(
    name=FLEX.name,
    service_tier=FLEX.service_tier,
    timeout_field=FLEX.timeout_field,
    patient=True,
    window="soonest",
    registered_as="flex in the background",
    fallback_variant=FLEX,
)
"""The flex lane of ``FlexPolicy.flex_background``."""


def with_whole_window(lane: Lane) -> Lane:
    """The lane for calls that begin on it only if its whole window is left."""
    return lane if lane.window is None else replace(lane, min_seconds=WINDOWS[lane.window])
