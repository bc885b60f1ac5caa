"""CostTotals as a small table: text for a terminal, HTML for a notebook."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from html import escape

from flextier._utils.formatting import count, text_table
from flextier.costs.sums import Sums

_HEAD = ("", "calls", "failed", "fell back", "input", "cached", "output", "reasoning",
         "cost $", "standard $", "saved $", "saved")  # fmt: skip
_CENTS, _SIGNIFICANT = 2, 4

Groups = Sequence[Mapping[str, Sums]]
"""Sums by model, by lane and by tag."""


def text(totals: Sums, groups: Groups) -> str:
    """The table in aligned columns, and notes below it."""
    lines = text_table([_HEAD, *_rows(totals, groups)], left=1)
    return "\n".join([*lines, *notes(totals)])


def html(totals: Sums, groups: Groups) -> str:
    """The table as HTML, and notes below it."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in _HEAD)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in _rows(totals, groups)
    )
    below = "".join(f"<p>{escape(note)}</p>" for note in notes(totals))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"


def _rows(totals: Sums, groups: Groups) -> Iterator[tuple[str, ...]]:
    digits = digits_for(totals.standard_cost)
    by_model, by_lane, by_tag = groups
    for group in (by_lane, by_model, by_tag):
        if len(group) > 1 or group is by_tag:
            yield from (_row(name, sums, digits) for name, sums in sorted(group.items()))
    yield _row("all", totals, digits)


def _row(name: str, sums: Sums, digits: int) -> tuple[str, ...]:
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


def notes(totals: Sums) -> Iterator[str]:
    """Sentences on what the table does not include."""
    digits = digits_for(totals.standard_cost)
    if totals.fallback_calls:
        premium = dollars(totals.fallback_premium, digits)
        yield f"Falling back cost ${premium} above the lanes that the calls were meant for."
    if totals.possibly_billed_attempts:
        yield (
            f"{count(totals.possibly_billed_attempts, 'attempt')} without an answer may have "
            f"been billed: at most ${dollars(totals.possibly_billed, digits)} where that is known."
        )
    if totals.unpriced_calls:
        yield f"{count(totals.unpriced_calls, 'call')} could not be priced: not in any amount."
    if totals.estimated_calls:
        yield f"{count(totals.estimated_calls, 'call')} priced by an estimate."


def digits_for(whole: Decimal) -> int:
    """Digits after the point of all amounts: cents, or four significant digits of the total."""
    return max(_CENTS, _SIGNIFICANT - 1 - whole.adjusted()) if whole else _CENTS


def dollars(amount: Decimal, digits: int) -> str:
    """The amount with the given digits after the point, without a sign."""
    return f"{amount.quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_EVEN):,f}"
