"""The metrics of a call: two of OpenTelemetry's conventions, and flextier's own."""

from __future__ import annotations

from flextier._utils.extras import needs_extra
from flextier.calls.report import CallReport
from flextier.costs.records import REFUSED
from flextier.otel.attributes import Attributes, of_error
from flextier.pricing.cost import Cost

with needs_extra("otel"):
    from opentelemetry.context import Context
    from opentelemetry.metrics import Meter

TOKENS = tuple(4**power for power in range(14))
"""The conventions' buckets of token counts: 1 to 67 million."""
SECONDS = tuple(0.01 * 2**power for power in range(18))
"""The conventions' buckets of durations, 0.01 s to 81.92 s, and four more: an attempt on flex may
take a quarter of an hour."""
WAITS = (0, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)


class Meters:
    """The instruments. Units are UCUM's, which has none for US$: ``{USD}`` is an annotation."""

    def __init__(self, meter: Meter) -> None:
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=TOKENS,
        )
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            "s",
            "GenAI operation duration.",
            explicit_bucket_boundaries_advisory=SECONDS,
        )
        self._waited = meter.create_histogram(
            "flextier.waited",
            "s",
            "Seconds that a call spent between its attempts.",
            explicit_bucket_boundaries_advisory=WAITS,
        )
        self._cost = meter.create_counter(
            "flextier.cost", "{USD}", "What calls cost; those without a known price are not in it."
        )
        # A lane may be dearer than standard.
        self._saved = meter.create_up_down_counter(
            "flextier.saved", "{USD}", "What the calls would have cost more on the standard lane."
        )
        self._unpriced = meter.create_counter(
            "flextier.unpriced_calls", "{call}", "Answered calls whose cost is not known."
        )
        self._refusals = meter.create_counter(
            "flextier.refusals", "{attempt}", "Attempts refused for want of capacity, not billed."
        )
        self._fallbacks = meter.create_counter(
            "flextier.fallbacks", "{call}", "Answered calls not billed on their first lane."
        )

    def record(self, report: CallReport, cost: Cost, shared: Attributes, context: Context) -> None:
        """Count a call; ``context`` contains its span, for exemplars."""
        self._duration.record(report.elapsed, {**shared, **of_error(report)}, context)
        if report.usage is not None:
            usage = {"input": report.usage.input_tokens, "output": report.usage.output_tokens}
            for kind, tokens in usage.items():
                self._tokens.record(tokens, {**shared, "gen_ai.token.type": kind}, context)
        by_lane: Attributes = {**shared, "flextier.lane": report.lane}
        self._waited.record(report.waited, by_lane, context)
        priced: Attributes = {**by_lane, "flextier.basis": cost.basis}
        if cost.total is not None:
            self._cost.add(float(cost.total), priced, context)
        elif report.served:
            self._unpriced.add(1, by_lane, context)
        if cost.saved is not None:
            self._saved.add(float(cost.saved), priced, context)
        for attempt in report.attempts:
            if attempt.outcome == REFUSED:
                self._refusals.add(1, {**shared, "flextier.lane": attempt.lane}, context)
        if report.served and report.fallback is not None:
            self._fallbacks.add(1, {**by_lane, "flextier.fallback": report.fallback}, context)
