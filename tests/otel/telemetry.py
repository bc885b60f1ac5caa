"""OpenTelemetry's own SDK, with exporters that keep everything in memory."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from flextier.otel import Instrumentation, instrument


class Telemetry:
    """Two in-memory providers and what they have recorded. ``instrument()`` switches them on."""

    def __init__(self, **metrics: Any) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracer_provider = TracerProvider(shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.meter_provider = MeterProvider([self._reader], shutdown_on_exit=False, **metrics)
        self.tracer = self.tracer_provider.get_tracer("the user's own")

    def instrument(self) -> Instrumentation:
        """Switch flextier's instrumentation on, for these providers."""
        return instrument(tracer_provider=self.tracer_provider, meter_provider=self.meter_provider)

    def close(self) -> None:
        """Shut the providers down."""
        self.tracer_provider.shutdown()
        self.meter_provider.shutdown()

    @property
    def finished(self) -> list[ReadableSpan]:
        """All spans that have ended, the user's included, in that order."""
        return list(self._exporter.get_finished_spans())

    @property
    def spans(self) -> list[ReadableSpan]:
        """Those that flextier made."""
        return [span for span in self.finished if scope_of(span) == "flextier"]

    @property
    def span(self) -> ReadableSpan:
        """The only one that flextier made."""
        spans = self.spans
        assert len(spans) == 1, f"one call makes one span, not {len(spans)}"
        return spans[0]

    @property
    def metrics(self) -> dict[str, Any]:
        """flextier's metrics that have been recorded, by name."""
        data = self._reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name: metric
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            if scope.scope.name == "flextier"
            for metric in scope.metrics
        }

    def points(self, name: str) -> list[Any]:
        """The points of a metric; none, if nothing was recorded."""
        metric = self.metrics.get(name)
        return [] if metric is None else list(metric.data.data_points)

    def total(self, name: str) -> float:
        """The sum of a metric over all its attributes."""
        points = self.points(name)
        return float(sum(p.sum if hasattr(p, "sum") else p.value for p in points))

    def count(self, name: str) -> int:
        """How often a histogram was recorded."""
        return sum(point.count for point in self.points(name))


def scope_of(span: ReadableSpan) -> str:
    """The name of the tracer that made a span."""
    assert span.instrumentation_scope is not None
    return span.instrumentation_scope.name


def attributes_of(span: Any) -> dict[str, Any]:
    """The attributes of a span, an event or a point."""
    return dict(span.attributes or {})


def events_of(span: ReadableSpan, name: str = "flextier.attempt") -> list[dict[str, Any]]:
    """The attributes of a span's events of that name, in order."""
    return [attributes_of(event) for event in span.events if event.name == name]
