"""Counts the calls of LlamaIndex, each once; those without a report get a record here."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from threading import RLock
from typing import Any
from uuid import uuid4

from flextier._utils.extras import needs_extra
from flextier._utils.safe_warn import notify
from flextier.calls.report import CallReport
from flextier.costs.records import CallRecord, OnRecord, RecentIds, record_of
from flextier.costs.totals import CostTotals
from flextier.lanes import STANDARD, tier_lane
from flextier.llama_index.events import FRAMEWORK
from flextier.llama_index.openai import OpenAIFlex
from flextier.llama_index.openai_responses import OpenAIResponsesFlex
from flextier.pricing.price_book import cost_or_unpriced, load_price_list
from flextier.pricing.usage import Usage

with needs_extra("llama-index"):
    from llama_index.core.llms.structured_llm import StructuredLLM

# LLMs that call another one, whose calls have events of their own.
_WRAPPERS = frozenset({StructuredLLM.class_name()})
# LLMs that dispatch an event with a report for every request.
_FLEXTIER = frozenset({OpenAIFlex.class_name(), OpenAIResponsesFlex.class_name()})

_MAX_OPEN = 100_000  # calls whose end is never reported, such as unread streams


@dataclass(frozen=True, slots=True)
class _OpenCall:
    """A call that has begun."""

    model: str
    at: datetime
    has_report: bool
    """Whether it is a call of flextier's, which brings its own report."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Other fields of its record."""
    call_id: str = field(default_factory=lambda: uuid4().hex)


class CallCounter:
    """Counts each call once, whichever event reports its end first."""

    def __init__(self, on_record: OnRecord | None) -> None:
        load_price_list()
        self.totals = CostTotals()
        self._on_record = on_record
        self._open: OrderedDict[str, _OpenCall] = OrderedDict()
        self._counted = RecentIds()
        self._lock = RLock()  # reentrant: the garbage collector may end a call at any point

    def started(self, key: str, llm: Mapping[str, Any], at: datetime, **fields: Any) -> None:
        """A call has begun; ``llm`` is LlamaIndex's description of its LLM."""
        if llm.get("class_name") in _WRAPPERS:
            return
        model = str(llm.get("model_name") or llm.get("model") or "unknown")
        with self._lock:
            self._open[key] = _OpenCall(model, at, llm.get("class_name") in _FLEXTIER, fields)
            if len(self._open) > _MAX_OPEN:
                self._open.popitem(last=False)

    def reported(self, key: str, report_fields: Mapping[str, Any], **fields: Any) -> None:
        """A call of flextier's has ended, with its report as a dict."""
        call = self._ended(key)
        if self._counted.is_new(report_fields["id"]):
            report = CallReport.from_dict(dict(report_fields))
            fields = {**({} if call is None else call.fields), **fields}
            self._count(record_of(report, framework=FRAMEWORK, **fields))

    def answered(self, key: str, response: Any, at: datetime) -> None:
        """A call has ended with LlamaIndex's response; of a stream, the last one."""
        if (call := self._ended(key)) is None:
            return  # counted by its report
        raw = getattr(response, "raw", None)
        answer = _field(raw, "response") or raw  # the last event of a Responses stream
        tier, model = _field(answer, "service_tier"), _field(answer, "model")
        lane = tier_lane(tier).name if isinstance(tier, str) else STANDARD.name
        served_model = model if isinstance(model, str) else None
        usage = _field(answer, "usage")
        if _field(usage, "total_tokens") is None:
            usage = None  # or it is in another vendor's format
        else:
            usage = Usage.from_json(usage) if isinstance(usage, dict) else Usage.from_openai(usage)
        self._count(_record(call, at, lane, served_model=served_model, usage=usage))

    def failed(self, key: str, error: str, at: datetime, *, was_sent: bool = False) -> None:
        """A call has ended without a response, by the error of that name.

        A call of flextier's brings its report, or has sent nothing, unless ``was_sent`` is true.
        """
        call = self._ended(key)
        if call is not None and (was_sent or not call.has_report):
            lane = "unknown" if call.has_report else STANDARD.name
            self._count(_record(call, at, lane, error=error))

    def _ended(self, key: str) -> _OpenCall | None:
        with self._lock:
            return self._open.pop(key, None)

    def _count(self, record: CallRecord) -> None:
        self.totals.add(record)
        if self._on_record is not None:
            notify(self._on_record, record)


def _record(
    call: _OpenCall,
    ended: datetime,
    lane: str,
    *,
    served_model: str | None = None,
    usage: Usage | None = None,
    error: str | None = None,
) -> CallRecord:
    models = (call.model,) if served_model is None else (served_model, call.model)
    return CallRecord(
        call_id=call.call_id,
        at=call.at,
        framework=FRAMEWORK,
        model=call.model,
        served_model=served_model,
        lane=lane,
        first_lane=lane,
        answered=error is None,
        usage=usage,
        cost=cost_or_unpriced(usage, models, lane, call.at.timestamp()),
        elapsed=(ended - call.at).total_seconds(),
        error=error,
        **call.fields,
    )


def _field(holder: Any, name: str) -> Any:
    if isinstance(holder, Mapping):
        return holder.get(name)
    return getattr(holder, name, None)
