"""CostTotals as a small table: text for a terminal, HTML for a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_HALF_EVEN, Decimal
from html import escape
from typing import TYPE_CHECKING

from flextier._utils.formatting import text_table

if TYPE_CHECKING:
    from flextier.costs.totals import CostTotals, Sums

_HEAD = ("", "calls", "failed", "fell back", "input", "cached", "output", "reasoning",
         "cost $", "standard $", "saved $", "saved")  # fmt: skip
_CENTS, _SIGNIFICANT = 2, 4

Row = tuple[str, ...]


def text(totals: CostTotals) -> str:
    """The table in aligned columns, and below it what is not in it."""
    lines = text_table([_HEAD, *_rows(totals)], left=1)
    return "\n".join([*lines, *_notes(totals)])


def html(totals: CostTotals) -> str:
    """The table as HTML."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in _HEAD)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in _rows(totals)
    )
    notes = "".join(f"<p>{escape(note)}</p>" for note in _notes(totals))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{notes}"


def _rows(totals: CostTotals) -> Iterator[Row]:
    digits = digits_for(totals.standard_cost)
    for group in (totals.by_lane, totals.by_model, totals.by_tag):
        if len(group) > 1 or group is totals.by_tag:
            yield from (_row(name, sums, digits) for name, sums in sorted(group.items()))
    yield _row("all", totals, digits)


def _row(name: str, sums: Sums, digits: int) -> Row:
    whole = sums.standard_cost
    share = f"{100 * sums.saved / whole:.1f} %" if whole else ""
    return (
        name,
        f"{sums.calls:,}",
        f"{sums.failed_calls:,}",
        f"{sums.fallback_calls:,}",
        f"{sums.input_tokens:,}",
        f"{sums.cached_input_tokens:,}",
        f"{sums.output_tokens:,}",
        f"{sums.reasoning_tokens:,}",
        dollars(sums.cost, digits),
        dollars(sums.standard_cost, digits),
        dollars(sums.saved, digits),
        share,
    )


def _notes(totals: CostTotals) -> Iterator[str]:
    digits = digits_for(totals.standard_cost)
    if totals.fallback_calls:
        premium = dollars(totals.fallback_premium, digits)
        yield f"Falling back cost ${premium} above the lanes that the calls were meant for."
    if totals.possibly_billed_attempts:
        yield (
            f"{_counted(totals.possibly_billed_attempts, 'attempt')} without an answer may have "
            f"been billed: at most ${dollars(totals.possibly_billed, digits)} where that is known."
        )
    if totals.unpriced_calls:
        yield f"{_counted(totals.unpriced_calls, 'call')} could not be priced: not in any amount."
    if totals.estimated_calls:
        yield f"{_counted(totals.estimated_calls, 'call')} priced by an estimate."


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def digits_for(whole: Decimal) -> int:
    """Digits after the point, the same for all: cents, or four that say something of the whole."""
    return max(_CENTS, _SIGNIFICANT - 1 - whole.adjusted()) if whole else _CENTS


def dollars(amount: Decimal, digits: int) -> str:
    """The amount with the given digits after the point, without a sign."""
    return f"{amount.quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_EVEN):,f}"
