"""From the calls of sample rows to the tokens and US$ of all rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import fmean, stdev
from typing import Any

from flextier.lanes import STANDARD
from flextier.pricing.price_book import price_book
from flextier.pricing.span import Span
from flextier.pricing.usage import Usage
from flextier.quotes.output_tokens import OutputTokens
from flextier.quotes.recording import RecordedCall
from flextier.sim.base.tokens import CACHE_FLOOR, CACHE_STEP, CHARACTERS_A_TOKEN

_INPUT_LOW, _INPUT_HIGH = 0.75, 1.35
"""How far the tokens of a text may be from the estimate by its letters."""
_SAMPLING = 2.6
"""Standard errors of a sample's mean: 99 of 100 samples are within them."""
_MAX_PROMPTS = 8
"""Prompts of a model that a later one is compared with, for what a cache would have of it."""

Costs = Span[float]


@dataclass(frozen=True, slots=True)
class CallUsage:
    """A call of a sample row, and the tokens that it is expected to take."""

    call: RecordedCall
    input: Span[int]
    output: Span[int]
    cached: int
    """Input tokens that a cache may have, at most."""

    def cost(self, lane: str) -> Costs:
        """US$ on a lane; None: unknown."""
        try:
            sheet = price_book().sheet(model=self.call.model, lane=lane)
        except ValueError:  # it is not sold yet
            return Span(None, None, None)

        def total(input_tokens: int | None, output: int | None, cached: int = 0) -> float | None:
            if input_tokens is None or output is None:
                return None
            rates = sheet.band(input_tokens).rates
            if rates is None:
                return None
            usage = Usage(input_tokens, output, min(cached, input_tokens))
            if not cached and input_tokens >= CACHE_FLOOR and rates.cache_write > rates.input:
                usage = Usage(input_tokens, output, cache_write_tokens=input_tokens)
            cost = sheet.cost(usage).total
            return None if cost is None else float(cost)

        given, written = self.input, self.output
        return Span(
            total(given.low, written.low, self.cached),
            total(given.expected, written.expected),
            total(given.high, written.high),
        )


SampleRow = Sequence[CallUsage] | None
"""The calls of a sample row; None: it raised before its first call, and may be as the others."""


def usages(
    rows: Iterable[Sequence[RecordedCall] | None], outputs: OutputTokens
) -> list[list[CallUsage] | None]:
    """The tokens that the calls of each sample row are expected to take."""
    prompts: dict[str, list[str]] = {}
    return [None if calls is None else _usages_of_row(calls, outputs, prompts) for calls in rows]


def _usages_of_row(
    calls: Sequence[RecordedCall], outputs: OutputTokens, prompts: dict[str, list[str]]
) -> list[CallUsage]:
    found = []
    shorter, longer = 0, 0.0  # earlier answers of the row, which a prompt may contain
    for call in calls:
        output = outputs.of(call.model, call.output_limit) if call.has_output else Span(0, 0, 0)
        low = max(1, int((call.input_tokens - shorter) * _INPUT_LOW))
        high = (call.input_tokens + longer) * _INPUT_HIGH
        given = Span(low, call.input_tokens, None if math.isinf(high) else math.ceil(high))
        before = prompts.setdefault(call.model, [])
        found.append(CallUsage(call, given, output, _cached(call.prompt, before)))
        before.append(call.prompt)
        del before[:-_MAX_PROMPTS]
        shorter += call.written  # its reasoning is not in a prompt, nor is what a program drops
        longer += math.inf if output.high is None else max(0, output.high - call.written)
    return found


def _cached(prompt: str, before: Sequence[str]) -> int:
    """The tokens at the beginning of a prompt that another one began with, too."""
    shared = max((_shared(prompt, other) for other in before), default=0)
    tokens = math.ceil(shared / CHARACTERS_A_TOKEN * _INPUT_HIGH)
    return 0 if tokens < CACHE_FLOOR else tokens + CACHE_STEP


def _shared(one: str, other: str) -> int:
    """The letters that two texts begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))


def on_lane(lane: str) -> Callable[[CallUsage], Costs]:
    """What a call costs on a lane: on standard where it cannot take the lane."""

    def costs(usage: CallUsage) -> Costs:
        call = usage.call
        if lane in call.eligible or lane in call.lanes:
            return usage.cost(lane)
        return usage.cost(STANDARD.name if call.eligible else call.lanes[0])

    return costs


def on_ladder(usage: CallUsage) -> Costs:
    """What a call costs on its own lanes: on the cheapest, on the first, on the dearest."""
    every = [usage.cost(lane) for lane in usage.call.lanes]
    highest = [costs.high for costs in every]
    return Span(
        min((costs.low for costs in every if costs.low is not None), default=None),
        every[0].expected,
        None if None in highest else max(x for x in highest if x is not None),
    )


def total_cost(
    rows: Sequence[SampleRow], of: Callable[[CallUsage], Costs], count: int
) -> Span[Decimal]:
    """US$ of ``count`` rows, of which ``rows`` are a sample."""
    totals = _totals(rows, of, count)
    return Span(*(None if x is None else Decimal(f"{x:.10f}").normalize() for x in totals))


def total_tokens(
    rows: Sequence[SampleRow], of: Callable[[CallUsage], Span[int]], count: int
) -> Span[int]:
    """Tokens of ``count`` rows, of which ``rows`` are a sample."""
    return Span(*(None if x is None else round(x) for x in _totals(rows, of, count)))


def _totals(
    rows: Sequence[SampleRow], of: Callable[[CallUsage], Span[Any]], count: int
) -> list[float | None]:
    """The low, the expected and the high sum over ``count`` rows."""
    spans = [None if row is None else [of(usage) for usage in row] for row in rows]
    return [
        _total(
            [None if row is None else [getattr(x, name) for x in row] for row in spans], count, sign
        )
        for name, sign in (("low", -1), ("expected", 0), ("high", 1))
    ]


def _total(rows: Sequence[list[float | None] | None], count: int, sign: int) -> float | None:
    """The sum over ``count`` rows, less or more what the sample may be wrong by."""
    sums = []
    for row in rows:
        if row is None:
            if sign < 0:  # it may cost nothing
                sums.append(0.0)
            continue
        known = [value for value in row if value is not None]
        if len(known) < len(row):
            return None
        sums.append(math.fsum(known))
    if not sums:
        return None if rows else 0.0
    error = 0.0
    if len(sums) < count:
        spread = stdev(sums) if len(sums) > 1 else sums[0]
        error = _SAMPLING * spread * math.sqrt((1 / len(sums)) * (1 - len(sums) / count))
    return count * max(0.0, fmean(sums) + sign * error)
