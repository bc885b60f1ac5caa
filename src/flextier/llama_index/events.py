"""Events for LlamaIndex's instrumentation: for each retry, each fallback and each call."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial
from typing import Any
from uuid import uuid4

from anyio import CancelScope

from flextier._utils.extras import needs_extra
from flextier.calls.context import SCOPE, listen
from flextier.calls.report import CallReport, Retry
from flextier.llama_index.run_tracking import RUN, run_key

with needs_extra("llama-index"):
    from llama_index.core.instrumentation.events import BaseEvent
    from llama_index.core.instrumentation.span import active_span_id
    from llama_index_instrumentation import get_dispatcher

FRAMEWORK = "llama-index"
"""The framework in the records of calls."""

_dispatcher = get_dispatcher(__name__)


class FlexRetryEvent(BaseEvent):
    """A retry, dispatched before its wait."""

    model: str
    """The model asked for."""
    lane: str
    """The lane of the next attempt."""
    failed_lane: str
    """The lane of the attempt that failed."""
    reason: str
    """Why it failed: a kind of the failure table, such as ``"capacity"``."""
    wait: float
    """Seconds until the next attempt."""
    status: int | None = None
    """The HTTP status of the failed attempt; None: there was no response."""
    request_id: str | None = None
    """OpenAI's request id of the failed attempt."""

    @classmethod
    def class_name(cls) -> str:
        """``"FlexRetryEvent"``."""
        return "FlexRetryEvent"


class FlexCallEvent(BaseEvent):
    """A call that has ended, answered or not."""

    report: dict[str, Any]
    """Its report, as in ``response.additional_kwargs["flextier"]``."""

    @classmethod
    def class_name(cls) -> str:
        """``"FlexCallEvent"``."""
        return "FlexCallEvent"


class FlexFallbackEvent(BaseEvent):
    """A call that was not billed on its first lane; dispatched at the call's end."""

    model: str
    """The model asked for."""
    lane: str
    """The lane that was billed; for a call without a response, that of its last attempt."""
    reason: str
    """Why the first lane was left: a kind of the failure table, or ``"downgraded"``."""
    report: dict[str, Any]
    """The whole report, as in ``response.additional_kwargs["flextier"]``."""

    @classmethod
    def class_name(cls) -> str:
        """``"FlexFallbackEvent"``."""
        return "FlexFallbackEvent"


class CallObserver:
    """Listens to a call: keeps its report, and dispatches its events in the span of its start."""

    __slots__ = ("_run", "_scope", "_span_id", "_stream", "is_served", "report", "report_fields")

    def __init__(self) -> None:
        self._span_id = active_span_id.get()
        self._scope = SCOPE.get()
        self._run = partial(run_key, RUN.get(), self._span_id or str(uuid4()))
        self.is_served = False
        """Whether the call has ended with a response."""
        self._stream: Any = None
        self.report: CallReport | None = None
        """The report of the call; None until it has ended."""
        self.report_fields: dict[str, Any] = {}
        """The report as plain JSON types."""

    def listening(self) -> AbstractContextManager[None]:
        """Listen to the call made inside; a stream makes it with its first chunk."""
        return listen(
            self._on_report,
            self._on_retry,
            on_stream=self._on_stream,
            outer=self._scope,
            run=self._run,
            framework=FRAMEWORK,
        )

    def close_stream(self) -> None:
        """Close the call's stream, if it has one."""
        if self._stream is not None:
            self._stream.close()

    async def aclose_stream(self) -> None:
        """The async version of :meth:`close_stream`."""
        if self._stream is not None:
            with CancelScope(shield=True):
                await self._stream.close()

    def _on_stream(self, stream: Any) -> None:
        self._stream = stream

    def _on_retry(self, retry: Retry) -> None:
        _dispatcher.event(
            FlexRetryEvent(
                span_id=self._span_id,
                model=retry.model,
                lane=retry.lane,
                failed_lane=retry.failed.lane,
                reason=retry.failed.outcome,
                wait=retry.wait,
                status=retry.failed.status,
                request_id=retry.failed.request_id,
            )
        )

    def _on_report(self, report: CallReport) -> None:
        self.report = report
        self.is_served, self.report_fields = report.served, report.to_dict()
        _dispatcher.event(FlexCallEvent(span_id=self._span_id, report=self.report_fields))
        if report.fallback is not None:
            _dispatcher.event(
                FlexFallbackEvent(
                    span_id=self._span_id,
                    model=report.model,
                    lane=report.lane,
                    reason=report.fallback,
                    report=self.report_fields,
                )
            )
