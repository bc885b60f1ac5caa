"""The cost of LlamaIndex's calls, counted from the events of its instrumentation."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from pydantic import PrivateAttr

from flextier._utils.extras import needs_extra
from flextier.costs.records import OnRecord
from flextier.costs.totals import CostTotals
from flextier.llama_index.call_counter import CallCounter
from flextier.llama_index.events import FlexCallEvent

with needs_extra("llama-index"):
    from llama_index.core.instrumentation.event_handlers import BaseEventHandler
    from llama_index.core.instrumentation.events import BaseEvent
    from llama_index.core.instrumentation.events.exception import ExceptionEvent
    from llama_index.core.instrumentation.events.llm import (
        LLMChatEndEvent,
        LLMChatStartEvent,
        LLMCompletionEndEvent,
        LLMCompletionStartEvent,
    )
    from llama_index_instrumentation import get_dispatcher
    from llama_index_instrumentation.events.span import SpanDropEvent


_PLAIN = (str, int, float, bool)


class FlexCostEventHandler(BaseEventHandler):
    """Counts the cost of LlamaIndex's model calls, with flextier's LLMs and any others.

    While its ``with`` block is open it counts all calls of the process, in every thread and task,
    as LlamaIndex's handlers do. To keep it for longer, add it to a dispatcher. Each call counts
    once. For flextier's LLMs, the record has attempts, waits and fallbacks. For others, it has what
    LlamaIndex keeps of the response; without OpenAI's usage in it, the call is unpriced.

    LlamaIndex's instrument tags become the record's metadata, and its tags, as ``name:value``.

    Args:
        on_record: called with each record, for example a ledger's ``add``. None: no callback.

    Example::

        with FlexCostEventHandler() as costs:
            query_engine.query("Why is the sky blue?")
        print(costs.totals)
    """

    _counter: CallCounter = PrivateAttr()

    def __init__(self, *, on_record: OnRecord | None = None) -> None:
        super().__init__()
        self._counter = CallCounter(on_record)

    @property
    def totals(self) -> CostTotals:
        """The totals of all calls so far."""
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
            del handlers[places[-1]]  # the one of this block; the caller may have added others

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        """Count the call of an event."""
        handle = _HANDLERS.get(type(event))
        if handle is not None and event.span_id is not None:
            handle(self._counter, event)


def _started(counter: CallCounter, event: Any) -> None:
    counter.started(event.span_id, event.model_dict, _utc(event.timestamp), **_record_fields(event))


def _reported(counter: CallCounter, event: Any) -> None:
    counter.reported(event.span_id, event.report, **_record_fields(event))


def _answered(counter: CallCounter, event: Any) -> None:
    counter.answered(event.span_id, event.response, _utc(event.timestamp))


def _raised(counter: CallCounter, event: Any) -> None:
    counter.failed(event.span_id, type(event.exception).__name__, _utc(event.timestamp))


def _dropped(counter: CallCounter, event: Any) -> None:
    counter.failed(event.span_id, "error", _utc(event.timestamp))


_HANDLERS: dict[type, Callable[[CallCounter, Any], None]] = {
    LLMChatStartEvent: _started,
    LLMCompletionStartEvent: _started,
    FlexCallEvent: _reported,
    LLMChatEndEvent: _answered,
    LLMCompletionEndEvent: _answered,
    ExceptionEvent: _raised,
    SpanDropEvent: _dropped,
}


def _record_fields(event: Any) -> dict[str, Any]:
    """The fields of a call's record that its event has."""
    plain = {name: value for name, value in event.tags.items() if isinstance(value, _PLAIN)}
    tags = tuple(f"{name}:{value}" for name, value in plain.items())
    return {"run_id": event.span_id, "tags": tags, "metadata": plain}


def _utc(local: datetime) -> datetime:
    """The time in UTC: LlamaIndex's times are local, without a zone."""
    return local.astimezone(timezone.utc)
