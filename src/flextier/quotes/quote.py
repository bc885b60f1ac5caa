"""Quote: what a run is going to cost, with the range, and where the prices come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

from flextier._utils.formatting import count, dollars, moment, text_table
from flextier.pricing.decimals import optional_digits
from flextier.pricing.price_source import PriceSource
from flextier.pricing.span import Span

_MOST_ERRORS = 5
"""Errors of sample rows that the text shows."""


@dataclass(frozen=True, slots=True)
class QuotedModel:
    """The calls of one model on the same lanes."""

    model: str
    lanes: tuple[str, ...]
    """The lanes that the calls take, in order."""
    calls_a_row: float
    """On average."""
    input_tokens: Span[int]
    """Of all rows."""
    output_tokens: Span[int]
    """Of all rows."""
    output_source: str
    """Where the number of output tokens comes from, in words."""

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "model": self.model,
            "lanes": list(self.lanes),
            "calls_a_row": round(self.calls_a_row, 3),
            "input_tokens": self.input_tokens.to_dict(),
            "output_tokens": self.output_tokens.to_dict(),
            "output_source": self.output_source,
        }


@dataclass(frozen=True, slots=True)
class Quote:
    """What a run is going to cost in US$, before anything is sent."""

    rows: int
    """Rows to run."""
    sampled: int
    """Rows whose calls were made, and answered in this process."""
    calls: Span[float]
    """Calls a row: the fewest, the average, the most."""
    models: tuple[QuotedModel, ...]
    cost: Span[Decimal]
    """On the lanes that the calls take: all on the cheapest; all on the first; all on the dearest,
    which is the worst case."""
    lanes: Mapping[str, Span[Decimal]]
    """If all calls are billed on one lane, by lane; calls that cannot take it, on standard."""
    prices: tuple[PriceSource, ...]
    takes: Mapping[str, str]
    """How long an answer takes on each of the lanes, in words."""
    ends_by: datetime | None
    """The latest end, if it has one: the deadline, or the windows of the lanes."""
    errors: Mapping[str, int] = field(default_factory=dict)
    """What the target raised on sample rows, and how often. Calls after it are not in the quote; a
    row that raised before its first call is quoted as the others are, and unknown if all did."""
    left_out: int = 0
    """Rows that cannot be run: not JSON, too few fields, no value in the key column."""
    at: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    """When it was made."""

    @property
    def low(self) -> Decimal | None:
        """The least that the run costs; None: unknown."""
        return self.cost.low

    @property
    def expected(self) -> Decimal | None:
        """What it costs if no call falls back; None: unknown."""
        return self.cost.expected

    @property
    def high(self) -> Decimal | None:
        """The worst case: all calls on the dearest of their lanes. None: unknown."""
        return self.cost.high

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types; money as strings of US$."""
        shown = {item.name: getattr(self, item.name) for item in fields(self)}
        return shown | {
            "calls": self.calls.to_dict(),
            "models": [model.to_dict() for model in self.models],
            "cost": self.cost.to_dict(optional_digits),
            "lanes": {lane: span.to_dict(optional_digits) for lane, span in self.lanes.items()},
            "prices": [source.to_dict() for source in self.prices],
            "ends_by": None if self.ends_by is None else self.ends_by.isoformat(),
            "at": self.at.isoformat(timespec="seconds"),
            "takes": dict(self.takes),
            "errors": dict(self.errors),
        }

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def _lines(quote: Quote) -> list[str]:
    few, most = quote.calls.low, quote.calls.high
    spread = "" if few == most else f" ({few} to {most})"
    lines = [
        f"{count(quote.rows, 'row')}, {_calls(quote.calls.expected)} a row{spread}, as seen on "
        f"{count(quote.sampled, 'sample row')} with simulated answers; nothing was sent"
    ]
    for one in quote.models:
        lines += [
            "",
            f"{one.model} on {', then '.join(one.lanes)}: {_calls(one.calls_a_row)} a row",
            f"  input tokens   {one.input_tokens.text(count)}",
            f"  output tokens  {one.output_tokens.text(count)} ({one.output_source})",
        ]
    rows = [("all on", "at least", "expected", "at most")]
    rows += [(lane, *_amounts(span)) for lane, span in quote.lanes.items()]
    rows.append(("these lanes", *_amounts(quote.cost)))
    lines += ["", *text_table(rows, left=1)]
    lines.append("the last line: all on the cheapest, all on the first, all on the dearest lane")
    lines += ["", *(f"{lane}: {takes}" for lane, takes in quote.takes.items())]
    if quote.ends_by is not None:
        lines.append(f"ends by {moment(quote.ends_by.astimezone())}")
    lines += ["", *dict.fromkeys(map(str, quote.prices))]
    if quote.left_out:
        lines.append(f"{count(quote.left_out, 'more row')} cannot be run, and cost nothing")
    for error, times in list(quote.errors.items())[:_MOST_ERRORS]:
        lines.append(f"{count(times, 'sample row')} raised {error}: later calls are not quoted")
    if others := sum(list(quote.errors.values())[_MOST_ERRORS:]):
        lines.append(f"{count(others, 'sample row')} raised other errors")
    return lines


def _calls(number: float | None) -> str:
    return f"{number:g} call{'s' * (number != 1)}"


def _amounts(span: Span[Decimal]) -> tuple[str, str, str]:
    low, expected, high = (
        "unknown" if x is None else dollars(x) for x in (span.low, span.expected, span.high)
    )
    return low, expected, high
