"""Can I see cost, savings and refusals in OpenTelemetry? One span a call, and metrics."""

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from flextier import FlexOpenAI
from flextier.otel import instrument

# With the exporters of your backend in place of the console's.
tracer_provider = TracerProvider()
tracer_provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
trace.set_tracer_provider(tracer_provider)
metrics.set_meter_provider(MeterProvider([PeriodicExportingMetricReader(ConsoleMetricExporter())]))

instrument()

client = FlexOpenAI()
with trace.get_tracer("example").start_as_current_span("colours"):
    answer = client.chat.completions.create(
        model="o4-mini", messages=[{"role": "user", "content": "Name a colour."}]
    )
    print(answer.choices[0].message.content)

# The metrics are printed when the program ends; in a service, every minute.
