"""The records of calls that flextier did not make: from LangChain's callbacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from flextier.costs.records import CallRecord
from flextier.lanes import tier_lane
from flextier.langchain.model_names import listed_as
from flextier.langchain.usage import NOTHING, ReportedUsage, reported_usage, usage_in
from flextier.pricing.cost import Cost
from flextier.pricing.price_book import cost_or_unpriced

FRAMEWORK = "langchain"

# What Groq calls its standard tier: https://console.groq.com/docs/service-tiers
_STANDARD = frozenset({"on_demand"})
_FINISHED = ("finish_reason", "stop_reason", "status")


@dataclass(frozen=True, slots=True)
class StartedRun:
    """What is known of a call when it begins."""

    model: str | None = None
    """The model asked for."""
    provider: str | None = None
    """LangChain's name of its vendor."""
    tier: str | None = None
    """The service tier asked for."""
    at: float = 0.0
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """What is known of a call when it is over."""

    reported: ReportedUsage = NOTHING
    model: str | None = None
    """The model as the answer names it."""
    provider: str | None = None
    tier: str | None = None
    """The service tier that the answer reports."""
    answered: bool = True


def read(result: Any) -> FinishedRun:
    """The facts in LangChain's result of an ended run."""
    message = message_of(result)
    if message is None:
        return FinishedRun()
    facts = {**(getattr(result, "llm_output", None) or {}), **message.response_metadata}
    return _answer(reported_usage(getattr(message, "usage_metadata", None)), facts)


def read_failed(result: Any) -> FinishedRun:
    """The facts in LangChain's result of a failed run: there may be a whole answer in it.

    A reader can leave a stream at its end, and an answer can fail to be what a schema wants; such
    answers are billed.
    """
    message = message_of(result)
    if message is not None:
        facts = message.response_metadata
        reported = reported_usage(getattr(message, "usage_metadata", None))
        if reported.usage is not None and any(name in facts for name in _FINISHED):
            return _answer(reported, facts)
        body = facts.get("body")
        if isinstance(body, Mapping) and (usage := usage_in(body)) is not None:
            return _answer(ReportedUsage(usage), body)
    return FinishedRun(answered=False)


def message_of(result: Any) -> Any:
    """The first message of a result; None where it has none."""
    for generations in getattr(result, "generations", None) or ():
        for generation in generations:
            message = getattr(generation, "message", None)
            # What a generation of LangChain's may hold, and is no message of a model, has neither.
            if isinstance(getattr(message, "response_metadata", None), dict):
                return message
    return None


def _answer(reported: ReportedUsage, facts: Mapping[str, Any]) -> FinishedRun:
    return FinishedRun(
        reported,
        model=_text(facts.get("model_name")) or _text(facts.get("model")),
        provider=_text(facts.get("model_provider")),
        tier=_text(facts.get("service_tier")),
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def record_of_plain(
    answer: FinishedRun,
    asked: StartedRun,
    *,
    call_id: str,
    elapsed: float,
    error: str | None,
    **about: Any,
) -> CallRecord:
    """The record of a call.

    Args:
        answer: what came of it.
        asked: what is known of its beginning.
        call_id: its name.
        elapsed: seconds from its beginning to its end.
        error: the name of what ended it. None: nothing did.
        about: other fields of the record.
    """
    tier = answer.tier or answer.reported.tier or (None if answer.answered else asked.tier)
    lane = "standard" if tier is None or tier in _STANDARD else tier_lane(tier).name
    return CallRecord(
        call_id=call_id,
        at=datetime.fromtimestamp(asked.at, timezone.utc),
        framework=FRAMEWORK,
        model=asked.model or answer.model or "unknown",
        served_model=answer.model,
        lane=lane,
        first_lane=lane,
        answered=answer.answered,
        usage=answer.reported.usage,
        cost=_cost(answer, asked, lane),
        elapsed=elapsed,
        error=error,
        **about,
    )


def _cost(answer: FinishedRun, asked: StartedRun, lane: str) -> Cost:
    names = listed_as((answer.model, asked.model), (asked.provider, answer.provider))
    reported = answer.reported
    if reported.unpriced is not None:
        return Cost(names[0], lane, "unpriced", reported.unpriced)
    cost = cost_or_unpriced(reported.usage, names, lane, asked.at)
    if reported.estimated is None or cost.basis == "unpriced":
        return cost
    reasons = (cost.reason, reported.estimated)
    return replace(cost, basis="estimated", reason="; ".join(filter(None, reasons)))
