"""The span of a call, created when the call has ended, with the original times."""

from __future__ import annotations

from dataclasses import dataclass, field

from flextier._utils.extras import needs_extra
from flextier.calls.hooks import CallStart
from flextier.calls.report import CallReport
from flextier.otel.attributes import (
    OPERATION,
    Attributes,
    of_attempt,
    of_cost,
    of_error,
    of_fallback,
    of_span,
)
from flextier.pricing.cost import Cost

with needs_extra("otel"):
    from opentelemetry.context import Context
    from opentelemetry.trace import (
        Span,
        SpanKind,
        StatusCode,
        Tracer,
        get_current_span,
        set_span_in_context,
    )

ATTEMPT = "flextier.attempt"
FALLBACK = "flextier.fallback"

_OF_CALLS = {
    "gen_ai.operation.name": {"chat", "text_completion", "generate_content"},
    "langfuse.observation.type": {"generation"},
    "openinference.span.kind": {"LLM"},
}
"""Attributes of spans of one model call, by the packages that make them."""


def outer_call(context: Context) -> Span | None:
    """The current span, if it is another instrumentation's of a model call; None: it is not."""
    span = get_current_span(context)
    attributes = getattr(span, "attributes", None) or {}  # the API does not promise to show them
    is_call = any(attributes.get(name) in values for name, values in _OF_CALLS.items())
    return span if is_call and span.is_recording() else None


@dataclass(slots=True)
class SpanTimes:
    """Start and end of a call and its attempts, in nanoseconds since the epoch, as spans use."""

    call: CallStart
    parent: Context
    """The context in which the call started."""
    started: int
    outer: Span | None = None
    """Another instrumentation's span of the call; None: there is none."""
    retries: list[tuple[int, float]] = field(default_factory=list)
    """For each retry: when the attempt before it ended, and the seconds waited after that."""
    ended: int = 0

    def end_of(self, attempt: int) -> tuple[int, float | None]:
        """When an attempt (counted from 0) ended, and the seconds waited for the next one."""
        return self.retries[attempt] if attempt < len(self.retries) else (self.ended, None)


def span_of(
    tracer: Tracer, times: SpanTimes, report: CallReport, cost: Cost, shared: Attributes
) -> Context:
    """Create the span of a call, or complete the outer one; returns a context with the span.

    An outer span that has ended before the call gets a child, which is no second span of a model
    call: it has no ``gen_ai.*`` attributes.

    Args:
        tracer: creates the span.
        times: the call's times.
        report: the call's report.
        cost: the call's cost.
        shared: the attributes that spans and metrics share.
    """
    failure, name, kind = of_error(report), f"{OPERATION} {report.model}", SpanKind.CLIENT
    attributes = {**shared, **failure, **of_span(times.call, report, cost)}
    if times.outer is not None:
        attributes = {k: v for k, v in attributes.items() if k.startswith("flextier.")}
        if times.outer.is_recording():
            times.outer.set_attributes({**attributes, **of_cost(cost)})
            _add_events(times.outer, times, report)
            return set_span_in_context(times.outer, times.parent)
        name, kind = f"flextier {report.model}", SpanKind.INTERNAL
    span = tracer.start_span(name, times.parent, kind, attributes, start_time=times.started)
    if span.is_recording():
        _add_events(span, times, report)
        if failure:
            # Without the error's message, which may quote the prompt.
            span.set_status(StatusCode.ERROR)
    span.end(times.ended)
    return set_span_in_context(span, times.parent)


def _add_events(span: Span, times: SpanTimes, report: CallReport) -> None:
    fallback_at = times.started
    events: list[tuple[int, str, Attributes]] = []
    for number, attempt in enumerate(report.attempts):
        ended, wait = times.end_of(number)
        events.append((ended, ATTEMPT, of_attempt(attempt, wait)))
        if attempt.lane == report.first_lane:
            fallback_at = ended
    if report.fallback is not None:
        events.append((fallback_at, FALLBACK, of_fallback(report)))
    for time, name, attributes in sorted(events, key=lambda event: event[0]):
        span.add_event(name, attributes, time)
