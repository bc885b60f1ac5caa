"""The records of calls that flextier did not make: from what LlamaIndex keeps of an answer."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flextier.costs.records import CallRecord
from flextier.lanes import tier_lane
from flextier.pricing.price_book import cost_or_unpriced
from flextier.pricing.usage import Usage

FRAMEWORK = "llama-index"


def record_of_answer(
    response: Any, *, call_id: str, model: str, began: datetime, ended: datetime, **about: Any
) -> CallRecord:
    """The record of an answered call.

    Args:
        response: LlamaIndex's response; of a stream, the last one.
        call_id: the call's name.
        model: the model asked for.
        began: when the call began.
        ended: when it was answered.
        about: other fields of the record.
    """
    raw = getattr(response, "raw", None)
    answer = _field(raw, "response") or raw  # the last event of a Responses stream
    usage = _usage(_field(answer, "usage"))
    tier = _field(answer, "service_tier")
    lane = tier_lane(tier).name if isinstance(tier, str) else "standard"
    served = _field(answer, "model")
    served_model = served if isinstance(served, str) else None
    models = (model,) if served_model is None else (served_model, model)
    return CallRecord(
        call_id=call_id,
        at=began,
        framework=FRAMEWORK,
        model=model,
        served_model=served_model,
        lane=lane,
        first_lane=lane,
        answered=True,
        usage=usage,
        cost=cost_or_unpriced(usage, models, lane, began.timestamp()),
        elapsed=(ended - began).total_seconds(),
        **about,
    )


def record_of_failure(
    error: str,
    *,
    lane: str,
    call_id: str,
    model: str,
    began: datetime,
    ended: datetime,
    **about: Any,
) -> CallRecord:
    """The record of a call without an answer; ``error`` names what ended it."""
    return CallRecord(
        call_id=call_id,
        at=began,
        framework=FRAMEWORK,
        model=model,
        served_model=None,
        lane=lane,
        first_lane=lane,
        answered=False,
        usage=None,
        cost=cost_or_unpriced(None, (model,), lane, began.timestamp()),
        elapsed=(ended - began).total_seconds(),
        error=error,
        **about,
    )


def _usage(usage: Any) -> Usage | None:
    """OpenAI's usage, in objects or dicts; how other vendors count is not taken for it."""
    if _field(usage, "total_tokens") is None:
        return None
    return Usage.from_openai(_Fields(usage) if isinstance(usage, Mapping) else usage)


class _Fields:
    """A mapping whose entries are attributes, as the SDK's objects have them."""

    def __init__(self, mapping: Mapping[str, Any]) -> None:
        for name, value in mapping.items():
            setattr(self, name, _Fields(value) if isinstance(value, Mapping) else value)


def _field(holder: Any, name: str) -> Any:
    if isinstance(holder, Mapping):
        return holder.get(name)
    return getattr(holder, name, None)
