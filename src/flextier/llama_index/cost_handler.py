"""The cost of LlamaIndex's calls, counted from the events of its instrumentation."""

from __future__ import annotations

from datetime import timezone
from typing import Any

from pydantic import PrivateAttr

from flextier._utils.extras import needs_extra
from flextier.costs.records import OnRecord
from flextier.costs.totals import CostTotals
from flextier.llama_index.call_counter import CallCounter
from flextier.llama_index.events import FlexCallEvent, as_tags, plain_tags

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
        if (key := event.span_id) is None:
            return
        at = event.timestamp.astimezone(timezone.utc)  # LlamaIndex's times are local
        match event:
            case LLMChatStartEvent() | LLMCompletionStartEvent():
                self._counter.started(key, event.model_dict, at, **_record_fields(event))
            case FlexCallEvent():
                self._counter.reported(key, event.report, **_record_fields(event))
            case LLMChatEndEvent() | LLMCompletionEndEvent():
                self._counter.answered(key, event.response, at)
            case ExceptionEvent():
                self._counter.failed(key, type(event.exception).__name__, at)
            case SpanDropEvent():
                self._counter.failed(key, "error", at)


def _record_fields(event: Any) -> dict[str, Any]:
    """The fields of a call's record that its event has."""
    plain = plain_tags(event.tags)
    return {"run_id": event.span_id, "tags": as_tags(plain), "metadata": plain}
