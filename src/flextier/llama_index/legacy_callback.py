"""The cost of LlamaIndex's calls, counted from its older callbacks."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from flextier._utils.extras import needs_extra
from flextier.calls.report import report_of
from flextier.costs.records import OnRecord
from flextier.costs.totals import CostTotals
from flextier.llama_index.call_counter import CallCounter

with needs_extra("llama-index"):
    from llama_index.core.callbacks.base_handler import BaseCallbackHandler
    from llama_index.core.callbacks.schema import CBEventType, EventPayload


class FlexCostCallback(BaseCallbackHandler):
    """As :class:`FlexCostEventHandler`, for LlamaIndex's older ``CallbackManager``.

    It misses ``structured_predict`` of :class:`OpenAIResponsesFlex`, which calls no callback.

    Args:
        on_record: called with each record, for example a ledger's ``add``. None: no callback.

    Example::

        costs = FlexCostCallback()
        Settings.callback_manager = CallbackManager([costs])
    """

    def __init__(self, *, on_record: OnRecord | None = None) -> None:
        super().__init__(event_starts_to_ignore=[], event_ends_to_ignore=[])
        self._counter = CallCounter(on_record)

    @property
    def totals(self) -> CostTotals:
        """The totals of all calls so far."""
        return self._counter.totals

    def on_event_start(
        self,
        event_type: CBEventType,
        payload: dict[str, Any] | None = None,
        event_id: str = "",
        parent_id: str = "",
        **kwargs: Any,
    ) -> str:
        """Note the start of a call."""
        if event_type is CBEventType.LLM:
            fields = (payload or {}).get(EventPayload.SERIALIZED) or {}
            self._counter.started(
                event_id, fields, _now(), run_id=event_id, parent_run_id=parent_id or None
            )
        return event_id

    def on_event_end(
        self,
        event_type: CBEventType,
        payload: dict[str, Any] | None = None,
        event_id: str = "",
        **kwargs: Any,
    ) -> None:
        """Count a call that has ended."""
        if event_type is not CBEventType.LLM:
            return
        payload = payload or {}
        error = payload.get(EventPayload.EXCEPTION)
        response = payload.get(EventPayload.RESPONSE) or payload.get(EventPayload.COMPLETION)
        fields = getattr(response, "additional_kwargs", {}).get("flextier")
        if error is not None and (report := report_of(error)) is not None:
            fields = report.to_dict()
        if fields is not None:
            self._counter.reported(event_id, fields)
        elif error is None:
            self._counter.answered(event_id, response, _now())
        else:
            # The report of an abandoned stream or a cancelled task does not arrive here.
            abandoned = not isinstance(error, Exception)
            self._counter.failed(event_id, type(error).__name__, _now(), was_sent=abandoned)

    def start_trace(self, trace_id: str | None = None) -> None:
        """Do nothing: calls are counted one by one."""

    def end_trace(
        self, trace_id: str | None = None, trace_map: dict[str, list[str]] | None = None
    ) -> None:
        """Do nothing: calls are counted one by one."""


def _now() -> datetime:
    return datetime.now(timezone.utc)
