"""Records of calls that flextier did not make, from LangChain's callbacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from flextier.costs.records import CallRecord
from flextier.lanes import STANDARD, tier_lane
from flextier.langchain.usage import NO_USAGE, ReportedUsage, reported_usage
from flextier.pricing.cost import Cost
from flextier.pricing.price_book import cost_or_unpriced
from flextier.pricing.usage import Usage

FRAMEWORK = "langchain"

# What Groq calls its standard tier: https://console.groq.com/docs/service-tiers
_STANDARD_TIERS = frozenset({"on_demand"})
_FINISH_FIELDS = ("finish_reason", "stop_reason", "status")


@dataclass(frozen=True, slots=True)
class StartedRun:
    """The facts of a call at its start."""

    model: str | None = None
    """The requested model."""
    provider: str | None = None
    """LangChain's name for its vendor."""
    tier: str | None = None
    """The requested service tier."""
    at: float = 0.0
    """The time of the start, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """The facts of a call at its end."""

    usage: ReportedUsage = NO_USAGE
    model: str | None = None
    """The model that the response names."""
    provider: str | None = None
    tier: str | None = None
    """The service tier that the response reports."""
    answered: bool = True


def finished_run(result: Any) -> FinishedRun:
    """The facts of a run, from LangChain's result."""
    message = first_message(result)
    if message is None:
        return FinishedRun()
    facts = {**(getattr(result, "llm_output", None) or {}), **message.response_metadata}
    return _finished(reported_usage(getattr(message, "usage_metadata", None)), facts)


def failed_run(result: Any) -> FinishedRun:
    """The facts of a failed run, from LangChain's result, which may have a complete response.

    A caller can abandon a stream at its end, and a response can fail its schema: both are billed.
    """
    message = first_message(result)
    if message is not None:
        facts = message.response_metadata
        reported = reported_usage(getattr(message, "usage_metadata", None))
        if reported.usage is not None and any(name in facts for name in _FINISH_FIELDS):
            return _finished(reported, facts)
        body = facts.get("body")
        usage = body.get("usage") if isinstance(body, Mapping) else None
        if isinstance(usage, Mapping) and (parsed := Usage.from_json(usage)) is not None:
            return _finished(ReportedUsage(parsed), body)
    return FinishedRun(answered=False)


def first_message(result: Any) -> Any:
    """The first message of a model in a result; None if it has none."""
    for generations in getattr(result, "generations", None) or ():
        for generation in generations:
            message = getattr(generation, "message", None)
            # Generations may hold other objects, which have no response metadata.
            if isinstance(getattr(message, "response_metadata", None), dict):
                return message
    return None


def _finished(reported: ReportedUsage, facts: Mapping[str, Any]) -> FinishedRun:
    return FinishedRun(
        reported,
        model=_text(facts.get("model_name")) or _text(facts.get("model")),
        provider=_text(facts.get("model_provider")),
        tier=_text(facts.get("service_tier")),
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def record_of_run(
    finished: FinishedRun,
    started: StartedRun,
    *,
    call_id: str,
    elapsed: float,
    error: str | None,
    **fields: Any,
) -> CallRecord:
    """The record of a call that has no report.

    Args:
        finished: the facts at its end.
        started: the facts at its start.
        call_id: its id.
        elapsed: seconds from start to end.
        error: the name of the error that ended it; None: there was none.
        fields: other fields of the record.
    """
    tier = finished.tier or finished.usage.tier or (None if finished.answered else started.tier)
    lane = STANDARD.name if tier is None or tier in _STANDARD_TIERS else tier_lane(tier).name
    return CallRecord(
        call_id=call_id,
        at=datetime.fromtimestamp(started.at, timezone.utc),
        framework=FRAMEWORK,
        model=started.model or finished.model or "unknown",
        served_model=finished.model,
        lane=lane,
        first_lane=lane,
        answered=finished.answered,
        usage=finished.usage.usage,
        cost=_cost(finished, started, lane),
        elapsed=elapsed,
        error=error,
        **fields,
    )


def _cost(finished: FinishedRun, started: StartedRun, lane: str) -> Cost:
    names = price_list_names((finished.model, started.model), (started.provider, finished.provider))
    reported = finished.usage
    if reported.unpriced is not None:
        return Cost(names[0], lane, "unpriced", reported.unpriced)
    cost = cost_or_unpriced(reported.usage, names, lane, started.at)
    if reported.estimated is None or cost.basis == "unpriced":
        return cost
    reasons = (cost.reason, reported.estimated)
    return replace(cost, basis="estimated", reason="; ".join(filter(None, reasons)))


# LangChain's `ls_provider` and `model_provider`, where the id in genai-prices differs.
_VENDOR_IDS = {
    "amazon_bedrock": "aws",
    "anthropic_bedrock": "aws",
    "azure_ai": "azure",
    "azure_openai": "azure",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "google_genai": "google",
    "google_vertexai": "google",
    "mistralai": "mistral",
    "xai": "x-ai",
}


def price_list_names(
    models: Iterable[str | None], providers: Iterable[str | None]
) -> tuple[str, ...]:
    """The names to look up in the price list, the most likely first.

    Args:
        models: names of the model, the most likely first; None: unknown.
        providers: LangChain's names for the vendor. Models of OpenAI or of no vendor keep their
            plain names. A vendor that the price list lacks has only the price book's custom rates
            for ``"vendor/model"``.
    """
    vendors = [provider and _VENDOR_IDS.get(provider, provider) for provider in providers]
    known = [vendor for vendor in vendors if vendor] or ["openai"]
    names = [
        model if vendor == "openai" else f"{vendor}/{model}"
        for vendor in known
        for model in models
        if model
    ]
    return tuple(dict.fromkeys(names)) or ("unknown",)
