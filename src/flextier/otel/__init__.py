"""OpenTelemetry: ``instrument()`` makes a span and metrics of every call of the process."""

from flextier.otel.instrumentation import Instrumentation, instrument

__all__ = ["Instrumentation", "instrument"]
