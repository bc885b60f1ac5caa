"""Events for LlamaIndex's instrumentation: for each retry, each fallback and each call."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

import openai
from anyio import CancelScope

from flextier._openai.http_library import new_request
from flextier._utils.extras import needs_extra
from flextier.calls.context import SCOPE, listen
from flextier.calls.report import CallReport, Retry, attach_report
from flextier.llama_index.run_tracking import RUN, run_key

with needs_extra("llama-index"):
    from llama_index.core.instrumentation.events import BaseEvent
    from llama_index.core.instrumentation.span import active_span_id
    from llama_index_instrumentation import get_dispatcher
    from llama_index_instrumentation.dispatcher import active_instrument_tags

FRAMEWORK = "llama-index"
"""The framework in the records of calls."""

_T = TypeVar("_T")
_dispatcher = get_dispatcher(__name__)


def plain_tags(tags: dict[str, Any]) -> dict[str, Any]:
    """The instrument tags that have plain values."""
    return {name: value for name, value in tags.items() if isinstance(value, (str, int, float))}


def as_tags(tags: dict[str, Any]) -> tuple[str, ...]:
    """Instrument tags as tags of a record: ``name:value``."""
    return tuple(f"{name}:{value}" for name, value in plain_tags(tags).items())


class _Named:
    @classmethod
    def class_name(cls) -> str:
        """The name of the class."""
        return cls.__name__


class FlexRetryEvent(_Named, BaseEvent):
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


class FlexCallEvent(_Named, BaseEvent):
    """A call that has ended, answered or not."""

    report: dict[str, Any]
    """Its report, as in ``response.additional_kwargs["flextier"]``."""


class FlexFallbackEvent(_Named, BaseEvent):
    """A call that was not billed on its first lane; dispatched at the call's end."""

    model: str
    """The model asked for."""
    lane: str
    """The lane that was billed; for a call without a response, that of its last attempt."""
    reason: str
    """Why the first lane was left: a kind of the failure table, or ``"downgraded"``."""
    report: dict[str, Any]
    """The whole report, as in ``response.additional_kwargs["flextier"]``."""


class CallObserver:
    """Listens to a call: keeps its report, and dispatches its events in the span of its start."""

    __slots__ = ("_run", "_scope", "_span_id", "_stream", "report", "report_fields")

    def __init__(self) -> None:
        self._span_id = active_span_id.get()
        self._scope = SCOPE.get()
        self._run = partial(run_key, RUN.get(), self._span_id or str(uuid4()))
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
            tags=as_tags(active_instrument_tags.get()),
        )

    def with_report(self, response: _T) -> _T:
        """The response with its report; without one if flextier did not route the call (Azure).

        Raises:
            openai.APIError: the response has the status ``"failed"``; to LlamaIndex it looks empty.
        """
        if (error := self.failed_response_error()) is not None:
            raise error
        if self.report is not None:
            additional: dict[str, Any] = response.additional_kwargs  # type: ignore[attr-defined]
            additional["flextier"] = self.report_fields
        return response

    def failed_response_error(self) -> openai.APIError | None:
        """The error for a response of status ``"failed"``; None if the call has another one."""
        report = self.report
        if report is None or report.served:
            return None
        outcome = report.attempts[-1].outcome
        why = f"OpenAI answered with a failed response ({outcome}); see .report for the attempts"
        error = openai.APIError(why, new_request("/responses"), body=None)
        attach_report(error, report)
        return error

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
        self.report_fields = report.to_dict()
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
