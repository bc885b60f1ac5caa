"""Sums as tables: one row for each group of calls, and notes on what the amounts do not include."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from html import escape

from flextier._utils.formatting import count, dollars, percent, plain, text_table
from flextier.costs.sums import Sums

HEAD = (
    "calls",
    "failed",
    "fell back",
    "refused",
    "input",
    "cached",
    "output",
    "reasoning",
    "cost",
    "standard",
    "saved",
    "share",
)
UNPRICED = "unpriced"
_NAME_LENGTH = 48
_MOST_REASONS = 3

Groups = Sequence[Mapping[str, Sums]]
"""Sums by model, by lane and by tag."""


def row(name: str, sums: Sums) -> tuple[str, ...]:
    """The cells of a table's row: the name, and those under ``HEAD``."""
    return (
        plain(name, _NAME_LENGTH),
        count(sums.calls),
        count(sums.failed_calls),
        count(sums.fallback_calls),
        count(sums.refusals),
        count(sums.input_tokens),
        count(sums.cached_input_tokens),
        count(sums.output_tokens),
        count(sums.reasoning_tokens),
        _amount(sums.cost, sums) + _inexact(sums),
        _amount(sums.standard_cost, sums),
        _amount(sums.saved, sums),
        percent(sums.saved, sums.standard_cost),
    )


def is_unpriced(sums: Sums) -> bool:
    """Whether no call of the group has a known price."""
    return 0 < sums.calls == sums.unpriced_calls


def _amount(amount: Decimal, sums: Sums) -> str:
    return UNPRICED if is_unpriced(sums) and not amount else dollars(amount)


def _inexact(sums: Sums) -> str:
    """The numbers of calls that keep an amount from being exact, in parentheses."""
    unpriced = 0 if is_unpriced(sums) else sums.unpriced_calls
    numbers = {UNPRICED: unpriced, "estimated": sums.estimated_calls}
    marks = [f"{count(number)} {what}" for what, number in numbers.items() if number]
    return f" ({', '.join(marks)})" if marks else ""


def notes(total: Sums, reasons: Mapping[str, int] | None = None) -> Iterator[str]:
    """Sentences on what the amounts do not include; ``reasons`` counts estimates by the reason."""
    if total.unpriced_calls:
        calls = count(total.unpriced_calls, "call")
        yield f"{calls} without a known price, not in any amount: the real cost is higher."
    if total.estimated_calls:
        calls = count(total.estimated_calls, "call")
        yield f"{calls} priced by an estimate{_why(total.estimated_calls, reasons or {})}."
    if total.possibly_billed_attempts:
        attempts = count(total.possibly_billed_attempts, "attempt")
        bound = dollars(total.possibly_billed) if total.possibly_billed else None
        yield f"{attempts} without an answer may have been billed: " + (
            f"at most {bound} more, where the bound is known." if bound else "no bound is known."
        )


def _why(estimated: int, reasons: Mapping[str, int]) -> str:
    """The most frequent reasons, with the numbers of calls, the most frequent first."""
    if not reasons:
        return ""
    most = dict(list(reasons.items())[:_MOST_REASONS])
    if others := estimated - sum(most.values()):
        most["other reasons"] = others
    return ": " + "; ".join(f"{plain(reason)} ({count(calls)})" for reason, calls in most.items())


def text(totals: Sums, groups: Groups) -> str:
    """The table in aligned columns, and notes below it."""
    return "\n".join([*text_table([("", *HEAD), *_rows(totals, groups)], left=1), *_notes(totals)])


def html(totals: Sums, groups: Groups) -> str:
    """The table as HTML, and notes below it."""
    head = "".join(f"<th>{cell}</th>" for cell in ("", *HEAD))
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in _rows(totals, groups)
    )
    below = "".join(f"<p>{escape(note)}</p>" for note in _notes(totals))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"


def _rows(totals: Sums, groups: Groups) -> Iterator[tuple[str, ...]]:
    by_model, by_lane, by_tag = groups
    for group in (by_lane, by_model, by_tag):
        if len(group) > 1 or group is by_tag:
            yield from (row(name, sums) for name, sums in sorted(group.items()))
    yield row("all", totals)


def _notes(totals: Sums) -> Iterator[str]:
    if totals.fallback_calls:
        premium = dollars(totals.fallback_premium)
        yield f"Falling back cost {premium} above the lanes that the calls were meant for."
    yield from notes(totals)
