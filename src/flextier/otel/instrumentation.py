"""instrument(): switches telemetry on for the whole process."""

from __future__ import annotations

from threading import Lock

from flextier._openai.public_names import load_resources
from flextier._utils.extras import needs_extra
from flextier._version import __version__
from flextier.calls import hooks
from flextier.calls.hooks import CallStart
from flextier.otel.attributes import SCHEMA_URL
from flextier.otel.meters import Meters
from flextier.otel.spans import InstrumentedCall
from flextier.pricing.price_book import load_price_list

with needs_extra("otel"):
    from opentelemetry.metrics import MeterProvider, get_meter
    from opentelemetry.trace import TracerProvider, get_tracer

_lock = Lock()
_active: Instrumentation | None = None

SCOPE = "flextier"
"""Name of the tracer and of the meter."""


def instrument(
    *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
) -> Instrumentation:
    """Export a span and metrics of every call that flextier makes in this process from now on.

    Sync and async, plain and streamed, through any framework, in every thread and event loop. A
    call's span has the times of the call and the parent that was current when the call started. It
    is never the current span itself, as it is created when the call has ended.

    Where the current span is another package's of the same call (Langfuse's, OpenInference's,
    OpenTelemetry's), that one gets the attributes and events, and there is no second span.

    Another call with the same arguments returns the active instrumentation; nothing is counted
    twice.

    Args:
        tracer_provider: creates the spans; None: the global one, also if that is set later.
        meter_provider: creates the metrics; None: likewise.

    Raises:
        RuntimeError: an instrumentation with other providers is active.

    Example::

        from flextier.otel import instrument

        instrument()
    """
    global _active
    with _lock:
        if _active is None:
            _active = Instrumentation(tracer_provider, meter_provider)
            hooks.add_hook(_active._started)
        elif _active._providers != (tracer_provider, meter_provider):
            raise RuntimeError(
                "flextier is instrumented with other providers: call uninstrument() on what "
                "instrument() returned before"
            )
        return _active


class Instrumentation:
    """The telemetry of all calls, from :func:`instrument` to :meth:`uninstrument`."""

    def __init__(
        self, tracer_provider: TracerProvider | None, meter_provider: MeterProvider | None
    ) -> None:
        self._providers = (tracer_provider, meter_provider)
        self._tracer = get_tracer(SCOPE, __version__, tracer_provider, SCHEMA_URL)
        self._meters = Meters(get_meter(SCOPE, __version__, meter_provider, SCHEMA_URL))
        load_price_list()
        load_resources()  # else the first span would begin when the SDK has imported them

    def uninstrument(self) -> None:
        """Stop the telemetry. Calls that have started are still exported; later ones are not."""
        global _active
        with _lock:
            hooks.remove_hook(self._started)
            if _active is self:
                _active = None

    def _started(self, call: CallStart) -> InstrumentedCall:
        return InstrumentedCall(call, self._tracer, self._meters)
