"""The attributes of a call's span and metrics, without prompts and answers.

``gen_ai.*``, ``openai.*``, ``server.*`` and ``error.type`` are names of OpenTelemetry's semantic
conventions 1.41.1. Other attributes are ``flextier.*``, named after the fields of
:class:`flextier.CallReport`.
"""

from __future__ import annotations

import json
from functools import lru_cache
from urllib.parse import urlsplit

from flextier.calls.hooks import CallStart
from flextier.calls.report import CANCELLED, Attempt, CallReport
from flextier.costs.records import REFUSED
from flextier.lanes import tier_lane
from flextier.pricing.cost import Cost

SCHEMA_URL = "https://opentelemetry.io/schemas/1.41.1"
OPERATION = "chat"
"""The conventions' name for a model call, of either API."""

Attributes = dict[str, str | bool | int | float]

_API_TYPES = {"/chat/completions": "chat_completions", "/responses": "responses"}
_PORTS = {"http": 80, "https": 443}


def of_call(call: CallStart, report: CallReport) -> Attributes:
    """Attributes of both span and metrics: model and tier, requested and served, and the server.

    Each has few values, so that it can be a dimension of a metric.
    """
    attributes: Attributes = {
        "gen_ai.operation.name": OPERATION,
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": report.model,
        "openai.request.service_tier": _tier(report.first_lane),
        **_server(call.base_url),
    }
    if report.served_model is not None:
        attributes["gen_ai.response.model"] = report.served_model
    if report.served:
        attributes["openai.response.service_tier"] = _tier(report.lane)
    return attributes


def of_error(report: CallReport) -> Attributes:
    """``error.type``, if the call ended in an error.

    The name of the exception, or the outcome of the last attempt if the response reports a failure
    without one. A stream that its reader closed early is not an error.
    """
    if report.error is not None:
        return {"error.type": report.error}
    if report.served or not report.attempts or report.attempts[-1].outcome == CANCELLED:
        return {}
    return {"error.type": report.attempts[-1].outcome}


def of_cost(cost: Cost) -> Attributes:
    """The cost in US$, by the names that observability platforms read; empty: it is not known."""
    if cost.total is None or cost.all_input is None or cost.output is None:
        return {}
    total, parts = float(cost.total), (float(cost.all_input), float(cost.output))
    details = {"input": parts[0], "output": parts[1], "total": total}
    return {
        "gen_ai.usage.cost": total,
        "langfuse.observation.cost_details": json.dumps(details),
        "llm.cost.prompt": parts[0],
        "llm.cost.completion": parts[1],
        "llm.cost.total": total,
    }


def of_span(call: CallStart, report: CallReport, cost: Cost) -> Attributes:
    """Attributes of the span alone."""
    return {
        "openai.api.type": _API_TYPES[call.path],
        **({"gen_ai.request.stream": True} if call.stream else {}),
        **_known("gen_ai.request.max_tokens", report.output_limit),
        **_of_usage(report),
        "flextier.call_id": report.id,
        "flextier.first_lane": report.first_lane,
        "flextier.lane": report.lane,
        **_known("flextier.fallback", report.fallback),
        "flextier.attempts": len(report.attempts),
        "flextier.refusals": sum(attempt.outcome == REFUSED for attempt in report.attempts),
        "flextier.possibly_billed_attempts": sum(
            attempt.possibly_billed for attempt in report.attempts
        ),
        "flextier.waited": report.waited,
        "flextier.basis": cost.basis,
        **_known("gen_ai.usage.cost", None if cost.total is None else float(cost.total)),
        **_known("flextier.cost", None if cost.total is None else float(cost.total)),
        **_known("flextier.saved", None if cost.saved is None else float(cost.saved)),
    }


def of_attempt(attempt: Attempt, wait: float | None) -> Attributes:
    """Attributes of an attempt's event; ``wait``: the seconds waited for the next attempt."""
    return {
        "flextier.lane": attempt.lane,
        "flextier.outcome": attempt.outcome,
        "flextier.seconds": attempt.seconds,
        "flextier.possibly_billed": attempt.possibly_billed,
        **_known("http.response.status_code", attempt.status),
        **_known("flextier.request_id", attempt.request_id),
        **_known("flextier.wait", wait),
    }


def of_fallback(report: CallReport) -> Attributes:
    """Attributes of a fallback's event: its reason, the first lane and the lane billed."""
    return {
        **_known("flextier.fallback", report.fallback),
        "flextier.first_lane": report.first_lane,
        "flextier.lane": report.lane,
    }


def _of_usage(report: CallReport) -> Attributes:
    usage = report.usage
    if usage is None:
        return {}
    parts = {
        "gen_ai.usage.cache_read.input_tokens": usage.cached_input_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
    }
    return {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        **{name: tokens for name, tokens in parts.items() if tokens},
    }


def _known(name: str, value: str | int | float | None) -> Attributes:
    return {} if value is None else {name: value}


def _tier(lane: str) -> str:
    """The service tier of a lane; an unknown lane is named after its tier."""
    return tier_lane(lane).service_tier


@lru_cache(maxsize=64)
def _server(base_url: str) -> Attributes:
    url = urlsplit(base_url)
    port = url.port or _PORTS.get(url.scheme)
    return {**_known("server.address", url.hostname), **_known("server.port", port)}
