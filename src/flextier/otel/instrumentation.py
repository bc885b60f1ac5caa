"""instrument(): the switch, for the whole process."""

from __future__ import annotations

import logging
import time
from threading import Lock

from flextier._utils.extras import needs_extra
from flextier._version import __version__
from flextier.calls import hooks
from flextier.calls.hooks import CallStart
from flextier.calls.report import CallReport, Retry
from flextier.otel.attributes import SCHEMA_URL, of_call
from flextier.otel.meters import Meters
from flextier.otel.spans import SpanTimes, span_of
from flextier.pricing.price_book import load_price_list

with needs_extra("otel"):
    from opentelemetry.context import get_current
    from opentelemetry.metrics import MeterProvider, get_meter
    from opentelemetry.trace import TracerProvider, get_tracer

_logger = logging.getLogger(__name__)
_lock = Lock()
_in_force: Instrumentation | None = None

SCOPE = "flextier"
"""The name of the tracer and of the meter."""


def instrument(
    *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
) -> Instrumentation:
    """Make a span and metrics of every call that flextier makes in this process from now on.

    Sync and async, plain and streamed, through any framework, in every thread and event loop. A
    call's span begins and ends with the call, is a child of the span it was made in, and never is
    the current span itself: it is made when the call is over.

    Called again with the same arguments, it gives the instrumentation in force; nothing is counted
    twice.

    Args:
        tracer_provider: whose spans they are; None: the global one, also if that is set later.
        meter_provider: whose metrics they are; None: likewise.

    Raises:
        RuntimeError: an instrumentation with other providers is in force.

    Example::

        from flextier.otel import instrument

        instrument()
    """
    global _in_force
    with _lock:
        if _in_force is None:
            _in_force = Instrumentation(tracer_provider, meter_provider)
            hooks.add_hook(_in_force._started)
        elif _in_force._providers != (tracer_provider, meter_provider):
            raise RuntimeError(
                "flextier is instrumented with other providers: call uninstrument() on what "
                "instrument() gave before"
            )
        return _in_force


class Instrumentation:
    """What :func:`instrument` has switched on."""

    def __init__(
        self, tracer_provider: TracerProvider | None, meter_provider: MeterProvider | None
    ) -> None:
        self._providers = (tracer_provider, meter_provider)
        self._tracer = get_tracer(SCOPE, __version__, tracer_provider, SCHEMA_URL)
        self._meters = Meters(get_meter(SCOPE, __version__, meter_provider, SCHEMA_URL))
        load_price_list()

    def uninstrument(self) -> None:
        """Switch it off. Calls that have begun are still exported; further ones are not."""
        global _in_force
        with _lock:
            hooks.remove_hook(self._started)
            if _in_force is self:
                _in_force = None

    def _started(self, beginning: CallStart) -> _InstrumentedCall:
        return _InstrumentedCall(self, SpanTimes(beginning, get_current(), time.time_ns()))

    def _export(self, course: SpanTimes, report: CallReport) -> None:
        cost = report.cost
        shared = of_call(course.beginning, report)
        context = span_of(self._tracer, course, report, cost, shared)
        self._meters.record(report, cost, shared, context)


class _InstrumentedCall:
    """One call, from its beginning to its end."""

    __slots__ = ("_course", "_owner")

    def __init__(self, owner: Instrumentation, course: SpanTimes) -> None:
        self._owner = owner
        self._course = course

    def retried(self, retry: Retry) -> None:
        """A new try is to be made."""
        self._course.tries.append((time.time_ns(), retry.wait))

    def ended(self, report: CallReport) -> None:
        """The call is over."""
        self._course.ended = time.time_ns()
        try:
            self._owner._export(self._course, report)
        except Exception:  # telemetry never breaks a call
            _logger.exception("the telemetry of call %s is lost", report.id)
