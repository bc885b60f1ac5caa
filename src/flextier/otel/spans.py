"""The telemetry of a call, exported when the call has ended, with the original times."""

from __future__ import annotations

import logging
import time

from flextier._utils.extras import needs_extra
from flextier.calls.hooks import CallStart
from flextier.calls.report import CallReport, Retry
from flextier.otel.attributes import (
    OPERATION,
    Attributes,
    of_attempt,
    of_call,
    of_cost,
    of_error,
    of_fallback,
    of_span,
)
from flextier.otel.meters import Meters
from flextier.pricing.cost import Cost

with needs_extra("otel"):
    from opentelemetry.context import Context, get_current
    from opentelemetry.trace import (
        Span,
        SpanKind,
        StatusCode,
        Tracer,
        get_current_span,
        set_span_in_context,
    )

_logger = logging.getLogger(__name__)

_OF_CALLS = {
    "gen_ai.operation.name": {"chat", "text_completion", "generate_content"},
    "langfuse.observation.type": {"generation"},
    "openinference.span.kind": {"LLM"},
}
"""Attributes of spans of one model call, by the packages that make them."""


class InstrumentedCall:
    """Listener of one call: notes its times, and exports its span and metrics when it ends.

    Times are nanoseconds since the epoch, as spans use.
    """

    __slots__ = ("_call", "_meters", "_outer", "_parent", "_retries", "_started", "_tracer")

    def __init__(self, call: CallStart, tracer: Tracer, meters: Meters) -> None:
        self._call, self._tracer, self._meters = call, tracer, meters
        self._parent = get_current()
        self._started = time.time_ns()
        self._outer = _outer_call(self._parent)
        self._retries: list[tuple[int, float | None]] = []
        """When each attempt ended, and the seconds waited for the next one."""

    def retried(self, retry: Retry) -> None:
        """An attempt has failed, and will be retried."""
        self._retries.append((time.time_ns(), retry.wait))

    def ended(self, report: CallReport) -> None:
        """The call has ended."""
        now = time.time_ns()
        try:
            cost, shared = report.cost, of_call(self._call, report)
            self._meters.record(report, cost, shared, self._span(report, cost, shared, now))
        except Exception:  # telemetry never breaks a call
            _logger.exception("the telemetry of call %s is lost", report.id)

    def _span(self, report: CallReport, cost: Cost, shared: Attributes, now: int) -> Context:
        """Create the span of the call, or complete the outer one; returns a context with the span.

        An outer span that has ended before the call gets a child, which is no second span of a
        model call: it has no ``gen_ai.*`` attributes.
        """
        failure, name, kind = of_error(report), f"{OPERATION} {report.model}", SpanKind.CLIENT
        attributes = {**shared, **failure, **of_span(self._call, report, cost)}
        if self._outer is not None:
            attributes = {k: v for k, v in attributes.items() if k.startswith("flextier.")}
            if self._outer.is_recording():
                self._outer.set_attributes({**attributes, **of_cost(cost)})
                self._add_events(self._outer, report, now)
                return set_span_in_context(self._outer, self._parent)
            name, kind = f"flextier {report.model}", SpanKind.INTERNAL
        span = self._tracer.start_span(
            name, self._parent, kind, attributes, start_time=self._started
        )
        if span.is_recording():
            self._add_events(span, report, now)
            if failure:
                # Without the error's message, which may quote the prompt.
                span.set_status(StatusCode.ERROR)
        span.end(now)
        return set_span_in_context(span, self._parent)

    def _add_events(self, span: Span, report: CallReport, now: int) -> None:
        fallback_at = self._started
        events: list[tuple[int, str, Attributes]] = []
        ends = [*self._retries, *[(now, None)] * len(report.attempts)]
        for attempt, (ended, wait) in zip(report.attempts, ends, strict=False):
            events.append((ended, "flextier.attempt", of_attempt(attempt, wait)))
            if attempt.lane == report.first_lane:
                fallback_at = ended
        if report.fallback is not None:
            events.append((fallback_at, "flextier.fallback", of_fallback(report)))
        for at, name, attributes in sorted(events, key=lambda event: event[0]):
            span.add_event(name, attributes, at)


def _outer_call(context: Context) -> Span | None:
    """The current span, if it is another instrumentation's of a model call; None: it is not."""
    span = get_current_span(context)
    attributes = getattr(span, "attributes", None) or {}  # the API does not promise to show them
    is_call = any(attributes.get(name) in values for name, values in _OF_CALLS.items())
    return span if is_call and span.is_recording() else None
