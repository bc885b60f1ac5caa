"""What LlamaIndex's calls cost: a handler for its events, one for its older callbacks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from threading import RLock
from typing import Any
from uuid import uuid4

from pydantic import PrivateAttr

from flextier.calls import CallReport, report_of
from flextier.costs.known import warm
from flextier.costs.records import CallRecord, record_of
from flextier.costs.totals import CostTotals
from flextier.llama_index._requires import needs_llama_index
from flextier.llama_index.chat import OpenAIFlex
from flextier.llama_index.events import FlexCallEvent
from flextier.llama_index.plain import FRAMEWORK, record_of_answer, record_of_failure
from flextier.llama_index.responses import OpenAIResponsesFlex
from flextier.saying import hand

with needs_llama_index():
    from llama_index.core.callbacks.base_handler import BaseCallbackHandler
    from llama_index.core.callbacks.schema import CBEventType, EventPayload
    from llama_index.core.instrumentation.event_handlers import BaseEventHandler
    from llama_index.core.instrumentation.events import BaseEvent
    from llama_index.core.instrumentation.events.exception import ExceptionEvent
    from llama_index.core.instrumentation.events.llm import (
        LLMChatEndEvent,
        LLMChatStartEvent,
        LLMCompletionEndEvent,
        LLMCompletionStartEvent,
    )
    from llama_index.core.llms.structured_llm import StructuredLLM
    from llama_index_instrumentation import get_dispatcher
    from llama_index_instrumentation.events.span import SpanDropEvent

OnRecord = Callable[[CallRecord], object]

# LLMs that ask another one, whose calls are told of by themselves.
_WRAPPERS = frozenset({StructuredLLM.class_name()})
# They tell of every request they make, with a report.
_OURS = frozenset({OpenAIFlex.class_name(), OpenAIResponsesFlex.class_name()})

_MOST_COUNTED = 10_000  # the last reports, that no call counts twice however often it is told
_MOST_OPEN = 100_000  # calls begun whose end was never told, such as streams that nobody read


@dataclass(frozen=True, slots=True)
class _Begun:
    """A call that has begun."""

    model: str
    at: datetime
    is_ours: bool
    about: Mapping[str, Any] = field(default_factory=dict)
    call_id: str = field(default_factory=lambda: uuid4().hex)


class _Counter:
    """Counts each call once, whoever tells of its end first."""

    def __init__(self, on_record: OnRecord | None) -> None:
        warm()
        self.totals = CostTotals()
        self._on_record = on_record
        self._begun: OrderedDict[str, _Begun] = OrderedDict()
        self._counted: OrderedDict[str, None] = OrderedDict()
        self._lock = RLock()  # the garbage collector may end a call in the midst

    def begin(self, key: str, llm: Mapping[str, Any], at: datetime, **about: Any) -> None:
        """A call begins, of an LLM that LlamaIndex describes so."""
        if llm.get("class_name") in _WRAPPERS:
            return
        model = str(llm.get("model_name") or llm.get("model") or "unknown")
        with self._lock:
            self._begun[key] = _Begun(model, at, llm.get("class_name") in _OURS, about)
            if len(self._begun) > _MOST_OPEN:
                self._begun.popitem(last=False)

    def end(self, key: str, report: Mapping[str, Any] | None, **about: Any) -> None:
        """A call of ours is over: it brings its own report."""
        with self._lock:
            begun = self._begun.pop(key, None)
            is_new = report is not None and report["id"] not in self._counted
            if report is not None and is_new:
                self._counted[report["id"]] = None
                if len(self._counted) > _MOST_COUNTED:
                    self._counted.popitem(last=False)
        if report is not None and is_new:
            known = {} if begun is None else begun.about
            self._tell(
                record_of(
                    CallReport.from_dict(dict(report)), framework=FRAMEWORK, **{**known, **about}
                )
            )

    def answered(self, key: str, response: Any, at: datetime) -> None:
        """A call is over; one of ours has been counted by its report."""
        with self._lock:
            begun = self._begun.pop(key, None)
        if begun is not None:
            self._tell(record_of_answer(response, **_facts(begun, at)))

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
            self._tell(record_of_failure(error, **_facts(begun, at)))

    def _tell(self, record: CallRecord) -> None:
        self.totals.add(record)
        if self._on_record is not None:
            hand(record, self._on_record)


def _facts(begun: _Begun, ended: datetime) -> dict[str, Any]:
    facts = {"call_id": begun.call_id, "model": begun.model, "began": begun.at, "ended": ended}
    return {**facts, **begun.about}


class FlexCostEventHandler(BaseEventHandler):
    """Counts what the model calls of LlamaIndex cost, ours and those of any other LLM.

    While its ``with`` block is open it hears all calls of the process, also those of other threads
    and tasks, as LlamaIndex's handlers do; else add it to a dispatcher. Each call counts once.
    Calls of ours bring their attempts, waits and fallbacks along; of others what LlamaIndex keeps
    of the answer is counted: without OpenAI's usage in it, a call is unpriced.

    LlamaIndex's instrument tags are the record's metadata, and its tags as ``name:value``.

    Args:
        on_record: told of each record, for example a ledger's ``add``. None: nobody.

    Example::

        with FlexCostEventHandler() as costs:
            query_engine.query("Why is the sky blue?")
        print(costs.totals)
    """

    _counter: _Counter = PrivateAttr()

    def __init__(self, *, on_record: OnRecord | None = None) -> None:
        super().__init__()
        self._counter = _Counter(on_record)

    @property
    def totals(self) -> CostTotals:
        """What the calls came to so far."""
        return self._counter.totals

    @classmethod
    def class_name(cls) -> str:
        """``"FlexCostEventHandler"``."""
        return "FlexCostEventHandler"

    def __enter__(self) -> FlexCostEventHandler:
        get_dispatcher().add_event_handler(self)
        return self

    def __exit__(self, *exception: Any) -> None:
        handlers = get_dispatcher().event_handlers
        places = [place for place, handler in enumerate(handlers) if handler is self]
        if places:
            del handlers[places[-1]]  # that of this block: others may be somebody's own

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        """Take note of one event."""
        read = _READERS.get(type(event))
        if read is not None and event.span_id is not None:
            read(self._counter, event)


def _begin(counter: _Counter, event: Any) -> None:
    counter.begin(event.span_id, event.model_dict, _utc(event.timestamp), **_about(event))


def _ours(counter: _Counter, event: Any) -> None:
    counter.end(event.span_id, event.report, **_about(event))


def _answered(counter: _Counter, event: Any) -> None:
    counter.answered(event.span_id, event.response, _utc(event.timestamp))


def _raised(counter: _Counter, event: Any) -> None:
    counter.failed(event.span_id, type(event.exception).__name__, _utc(event.timestamp))


def _dropped(counter: _Counter, event: Any) -> None:
    counter.failed(event.span_id, "error", _utc(event.timestamp))


_READERS: dict[type, Callable[[_Counter, Any], None]] = {
    LLMChatStartEvent: _begin,
    LLMCompletionStartEvent: _begin,
    FlexCallEvent: _ours,
    LLMChatEndEvent: _answered,
    LLMCompletionEndEvent: _answered,
    ExceptionEvent: _raised,
    SpanDropEvent: _dropped,
}


def _about(event: Any) -> dict[str, Any]:
    """The facts of a record that its event tells."""
    plain = {name: value for name, value in event.tags.items() if isinstance(value, _PLAIN)}
    tags = tuple(f"{name}:{value}" for name, value in plain.items())
    return {"run_id": event.span_id, "tags": tags, "metadata": plain}


_PLAIN = (str, int, float, bool)


def _utc(local: datetime) -> datetime:
    """LlamaIndex's times are local ones, without a zone."""
    return local.astimezone(timezone.utc)


class FlexCostCallback(BaseCallbackHandler):
    """As :class:`FlexCostEventHandler`, for LlamaIndex's older ``CallbackManager``.

    It misses ``structured_predict`` of :class:`OpenAIResponsesFlex`, which tells no callback.

    Args:
        on_record: told of each record, for example a ledger's ``add``. None: nobody.

    Example::

        costs = FlexCostCallback()
        Settings.callback_manager = CallbackManager([costs])
    """

    def __init__(self, *, on_record: OnRecord | None = None) -> None:
        super().__init__(event_starts_to_ignore=[], event_ends_to_ignore=[])
        self._counter = _Counter(on_record)

    @property
    def totals(self) -> CostTotals:
        """What the calls came to so far."""
        return self._counter.totals

    def on_event_start(
        self,
        event_type: CBEventType,
        payload: dict[str, Any] | None = None,
        event_id: str = "",
        parent_id: str = "",
        **kwargs: Any,
    ) -> str:
        """Take note of a call that begins."""
        if event_type is CBEventType.LLM:
            told = (payload or {}).get(EventPayload.SERIALIZED) or {}
            self._counter.begin(
                event_id, told, _now(), run_id=event_id, parent_run_id=parent_id or None
            )
        return event_id

    def on_event_end(
        self,
        event_type: CBEventType,
        payload: dict[str, Any] | None = None,
        event_id: str = "",
        **kwargs: Any,
    ) -> None:
        """Count a call that is over."""
        if event_type is not CBEventType.LLM:
            return
        payload = payload or {}
        error = payload.get(EventPayload.EXCEPTION)
        response = payload.get(EventPayload.RESPONSE) or payload.get(EventPayload.COMPLETION)
        if error is not None:
            report = report_of(error)
            if report is not None:
                self._counter.end(event_id, report.to_dict())
            else:
                # Of a stream that is left, or a cancelled task, the report is not told here.
                is_left = not isinstance(error, Exception)
                self._counter.failed(event_id, type(error).__name__, _now(), is_made=is_left)
            return
        told = getattr(response, "additional_kwargs", {}).get("flextier")
        if told is not None:
            self._counter.end(event_id, told)
        else:
            self._counter.answered(event_id, response, _now())

    def start_trace(self, trace_id: str | None = None) -> None:
        """Nothing: calls are counted one by one."""

    def end_trace(
        self, trace_id: str | None = None, trace_map: dict[str, list[str]] | None = None
    ) -> None:
        """Nothing: calls are counted one by one."""


def _now() -> datetime:
    return datetime.now(timezone.utc)
