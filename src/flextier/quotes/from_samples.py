"""From the calls of sample rows to the quote of all rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from statistics import fmean

from flextier.lanes import LANES, STANDARD, tier_lane
from flextier.pricing.price_source import source_of
from flextier.pricing.span import Span
from flextier.quotes.estimate import (
    CallUsage,
    SampleRow,
    on_ladder,
    on_lane,
    total_cost,
    total_tokens,
    usages,
)
from flextier.quotes.output_tokens import OutputTokens
from flextier.quotes.quote import Quote, QuotedModel
from flextier.quotes.recording import RecordedCall

_BATCH_WINDOW = 86_400.0


def quote_of(
    samples: Sequence[Sequence[RecordedCall] | None],
    rows: int,
    outputs: OutputTokens,
    *,
    errors: Mapping[str, int],
    left_out: int = 0,
    deadline: float | None = None,
) -> Quote:
    """The quote of ``rows`` rows, given the calls of a sample of them.

    A sample row that raised before its first call is None. ``deadline`` is in seconds from now.
    """
    outputs = replace(outputs, rows=rows)
    found = usages(samples, outputs)
    every = [usage for row in found for usage in row or ()]
    shown = _lanes_of(every)
    numbers = [len(row or ()) for row in samples] or [0]
    seen = [len(row) for row in samples if row is not None] or [0]
    groups = dict.fromkeys((usage.call.model, usage.call.lanes) for usage in every)
    priced = dict.fromkeys((u.call.model, x) for u in every for x in (*u.call.lanes, STANDARD.name))
    window = max((_window(calls or ()) for calls in samples), default=None)
    end = min((x for x in (deadline, window or None) if x is not None), default=None)
    return Quote(
        rows=rows,
        sampled=len(samples),
        calls=Span(min(numbers), round(fmean(seen), 3), max(numbers)),
        models=tuple(_quoted(found, model, lanes, rows, outputs) for model, lanes in groups),
        cost=total_cost(found, on_ladder, rows),
        lanes={lane: total_cost(found, on_lane(lane), rows) for lane in shown},
        prices=tuple(source_of(model, lane) for model, lane in priced),
        takes={x: tier_lane(x).takes for u in every for x in u.call.lanes if tier_lane(x).takes},
        ends_by=None if end is None else datetime.now(timezone.utc) + timedelta(seconds=end),
        errors=errors,
        left_out=left_out,
    )


def _lanes_of(every: Sequence[CallUsage]) -> list[str]:
    """The lanes that a call could take, standard first."""
    taken = {STANDARD.name}.union(*(usage.call.eligible | {*usage.call.lanes} for usage in every))
    names = dict.fromkeys((STANDARD.name, *LANES, *sorted(taken)))
    return [name for name in names if name in taken]


def _window(calls: Sequence[RecordedCall]) -> float:
    """Seconds that the windows of a row's calls leave for them; 0: one has none."""
    total = 0.0
    for call in calls:
        first = tier_lane(call.lanes[0])
        seconds = _BATCH_WINDOW if first.batched else first.window_seconds
        if not seconds:
            return 0.0
        total += seconds
    return total


def _quoted(
    found: Sequence[SampleRow],
    model: str,
    lanes: tuple[str, ...],
    rows: int,
    outputs: OutputTokens,
) -> QuotedModel:
    own = [
        row if row is None else [u for u in row if (u.call.model, u.call.lanes) == (model, lanes)]
        for row in found
    ]
    seen = [row for row in own if row is not None]
    limits = [u.call.output_limit for row in seen for u in row]
    limit = None if None in limits else max(x for x in limits if x is not None)
    has_output = any(u.call.has_output for row in seen for u in row)
    return QuotedModel(
        model,
        lanes,
        fmean(map(len, seen)),
        total_tokens(own, lambda usage: usage.input, rows),
        total_tokens(own, lambda usage: usage.output, rows),
        outputs.why(model, limit) if has_output else "none",
    )
