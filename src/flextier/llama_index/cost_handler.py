"""What LlamaIndex's calls cost: a handler for its instrumentation's events."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from pydantic import PrivateAttr

from flextier.costs.records import OnRecord
from flextier.costs.totals import CostTotals
from flextier.llama_index._requires import needs_llama_index
from flextier.llama_index.call_counter import CallCounter
from flextier.llama_index.events import FlexCallEvent

with needs_llama_index():
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


class FlexCostEventHandler(BaseEventHandler):
    """Counts what the model calls of LlamaIndex cost, ours and those of any other LLM.

    While its ``with`` block is open it counts all calls of the process, also those of other threads
    and tasks, as LlamaIndex's handlers do; else add it to a dispatcher. Each call counts once.
    Calls of ours bring their attempts, waits and fallbacks along; of others what LlamaIndex keeps
    of the answer is counted: without OpenAI's usage in it, a call is unpriced.

    LlamaIndex's instrument tags are the record's metadata, and its tags as ``name:value``.

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
            del handlers[places[-1]]  # that of this block: others may be the caller's own

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        """Take note of one event."""
        read = _READERS.get(type(event))
        if read is not None and event.span_id is not None:
            read(self._counter, event)


def _begin(counter: CallCounter, event: Any) -> None:
    counter.begin(event.span_id, event.model_dict, _utc(event.timestamp), **_about(event))


def _ours(counter: CallCounter, event: Any) -> None:
    counter.end(event.span_id, event.report, **_about(event))


def _answered(counter: CallCounter, event: Any) -> None:
    counter.answered(event.span_id, event.response, _utc(event.timestamp))


def _raised(counter: CallCounter, event: Any) -> None:
    counter.failed(event.span_id, type(event.exception).__name__, _utc(event.timestamp))


def _dropped(counter: CallCounter, event: Any) -> None:
    counter.failed(event.span_id, "error", _utc(event.timestamp))


_READERS: dict[type, Callable[[CallCounter, Any], None]] = {
    LLMChatStartEvent: _begin,
    LLMCompletionStartEvent: _begin,
    FlexCallEvent: _ours,
    LLMChatEndEvent: _answered,
    LLMCompletionEndEvent: _answered,
    ExceptionEvent: _raised,
    SpanDropEvent: _dropped,
}


def _about(event: Any) -> dict[str, Any]:
    """The fields of a record, from its event."""
    plain = {name: value for name, value in event.tags.items() if isinstance(value, _PLAIN)}
    tags = tuple(f"{name}:{value}" for name, value in plain.items())
    return {"run_id": event.span_id, "tags": tags, "metadata": plain}


_PLAIN = (str, int, float, bool)


def _utc(local: datetime) -> datetime:
    """LlamaIndex's times are local ones, without a zone."""
    return local.astimezone(timezone.utc)
