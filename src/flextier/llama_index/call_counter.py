"""Counts the calls of LlamaIndex, each once, however they are reported."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from threading import RLock
from typing import Any
from uuid import uuid4

from flextier._utils.safe_warn import notify
from flextier.calls.report import CallReport
from flextier.costs.records import CallRecord, OnRecord, RecentIds, record_of
from flextier.costs.totals import CostTotals
from flextier.llama_index._requires import needs_llama_index
from flextier.llama_index.openai import OpenAIFlex
from flextier.llama_index.openai_responses import OpenAIResponsesFlex
from flextier.llama_index.records import FRAMEWORK, record_of_answer, record_of_failure
from flextier.pricing.price_book import load_price_list

with needs_llama_index():
    from llama_index.core.llms.structured_llm import StructuredLLM

# LLMs that call another one, whose calls are reported by themselves.
_WRAPPERS = frozenset({StructuredLLM.class_name()})
# They dispatch an event for every request they make, with a report.
_OURS = frozenset({OpenAIFlex.class_name(), OpenAIResponsesFlex.class_name()})

_MOST_OPEN = 100_000  # calls begun whose end was never reported, such as unread streams


@dataclass(frozen=True, slots=True)
class _OpenCall:
    """A call that has begun."""

    model: str
    at: datetime
    is_ours: bool
    about: Mapping[str, Any] = field(default_factory=dict)
    call_id: str = field(default_factory=lambda: uuid4().hex)


class CallCounter:
    """Counts each call once, whichever event reports its end first."""

    def __init__(self, on_record: OnRecord | None) -> None:
        load_price_list()
        self.totals = CostTotals()
        self._on_record = on_record
        self._begun: OrderedDict[str, _OpenCall] = OrderedDict()
        self._counted = RecentIds()
        self._lock = RLock()  # the garbage collector may end a call in the midst

    def begin(self, key: str, llm: Mapping[str, Any], at: datetime, **about: Any) -> None:
        """A call begins, of an LLM that LlamaIndex describes so."""
        if llm.get("class_name") in _WRAPPERS:
            return
        model = str(llm.get("model_name") or llm.get("model") or "unknown")
        with self._lock:
            self._begun[key] = _OpenCall(model, at, llm.get("class_name") in _OURS, about)
            if len(self._begun) > _MOST_OPEN:
                self._begun.popitem(last=False)

    def end(self, key: str, report_fields: Mapping[str, Any], **about: Any) -> None:
        """A call of ours is over: it brings its own report, as a dict."""
        with self._lock:
            begun = self._begun.pop(key, None)
        if self._counted.is_new(report_fields["id"]):
            known = {} if begun is None else begun.about
            report = CallReport.from_dict(dict(report_fields))
            self._record(record_of(report, framework=FRAMEWORK, **{**known, **about}))

    def answered(self, key: str, response: Any, at: datetime) -> None:
        """A call is over; one of ours has been counted by its report."""
        with self._lock:
            begun = self._begun.pop(key, None)
        if begun is not None:
            self._record(record_of_answer(response, **_facts(begun, at)))

    def failed(self, key: str, error: str, at: datetime, *, is_made: bool = False) -> None:
        """A call is over without an answer. One of ours brings a report, or was never made.

        Args:
            key: the call.
            error: the name of what ended it.
            at: when.
            is_made: whether it was made in any case, and brings no report here.
        """
        with self._lock:
            begun = self._begun.pop(key, None)
        if begun is not None and (is_made or not begun.is_ours):
            lane = "unknown" if begun.is_ours else "standard"
            self._record(record_of_failure(error, lane=lane, **_facts(begun, at)))

    def _record(self, record: CallRecord) -> None:
        self.totals.add(record)
        if self._on_record is not None:
            notify(self._on_record, record)


def _facts(begun: _OpenCall, ended: datetime) -> dict[str, Any]:
    facts = {"call_id": begun.call_id, "model": begun.model, "began": begun.at, "ended": ended}
    return {**facts, **begun.about}
