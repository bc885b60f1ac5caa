"""The span of a call, made when the call is over, with the times it began and ended."""

from __future__ import annotations

from dataclasses import dataclass, field

from flextier._utils.extras import needs_extra
from flextier.calls.hooks import CallStart
from flextier.calls.report import CallReport
from flextier.otel.attributes import (
    OPERATION,
    Attributes,
    of_attempt,
    of_error,
    of_fallback,
    of_span,
)
from flextier.pricing.cost import Cost

with needs_extra("otel"):
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context

ATTEMPT = "flextier.attempt"
FALLBACK = "flextier.fallback"


@dataclass(slots=True)
class SpanTimes:
    """When a call began, tried again and ended: nanoseconds since the epoch, as spans have them."""

    beginning: CallStart
    parent: Context
    """The context that the call began in."""
    began: int
    tries: list[tuple[int, float]] = field(default_factory=list)
    """For every new try: when the attempt before it ended, and the seconds waited for it."""
    ended: int = 0

    def end_of(self, attempt: int) -> tuple[int, float | None]:
        """When an attempt ended, counted from 0, and the seconds waited for the next."""
        return self.tries[attempt] if attempt < len(self.tries) else (self.ended, None)


def span_of(
    tracer: Tracer, course: SpanTimes, report: CallReport, cost: Cost, shared: Attributes
) -> Context:
    """Make the span of a call that is over: a context with the span in it.

    Args:
        tracer: whose span it is.
        course: the call's times.
        report: what it went through.
        cost: what it cost.
        shared: the attributes that its metrics have, too.
    """
    failure = of_error(report)
    span = tracer.start_span(
        f"{OPERATION} {report.model}",
        course.parent,
        SpanKind.CLIENT,
        {**shared, **failure, **of_span(course.beginning, report, cost)},
        start_time=course.began,
    )
    if span.is_recording():
        _add_events(span, course, report)
        if failure:
            # Without the message: it may quote the prompt.
            span.set_status(StatusCode.ERROR)
    span.end(course.ended)
    return set_span_in_context(span, course.parent)


def _add_events(span: Span, course: SpanTimes, report: CallReport) -> None:
    left = course.began
    events: list[tuple[int, str, Attributes]] = []
    for number, attempt in enumerate(report.attempts):
        ended, wait = course.end_of(number)
        events.append((ended, ATTEMPT, of_attempt(attempt, wait)))
        if attempt.lane == report.first_lane:
            left = ended
    if report.fallback is not None:
        events.append((left, FALLBACK, of_fallback(report)))
    for time, name, attributes in sorted(events, key=lambda event: event[0]):
        span.add_event(name, attributes, time)
