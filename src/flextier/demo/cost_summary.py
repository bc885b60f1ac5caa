"""The demo's last table: what all calls cost, by framework and by lane, and what standard would."""

from __future__ import annotations

from collections.abc import Iterator

from flextier._utils.extras import needs_extra
from flextier.costs.formatting import digits_for, dollars
from flextier.costs.totals import CostTotals, Sums

with needs_extra("langchain,sim"):
    from rich.table import Table

_HEAD = ("", "calls", "input", "output", "cost", "standard", "saved", "")


def bill(totals: CostTotals) -> Table:
    """The table."""
    table = Table(title="what it came to: tokens, and US$", title_style="bold")
    for place, head in enumerate(_HEAD):
        table.add_column(head, justify="right" if place else "left")
    digits = digits_for(totals.standard_cost)
    for group in (totals.by_tag, totals.by_lane, {"all": totals}):
        for name, sums in sorted(group.items()):
            table.add_row(*_row(name, sums, digits))
        table.add_section()
    return table


def notes(totals: CostTotals) -> Iterator[str]:
    """What the table does not say."""
    digits = digits_for(totals.standard_cost)
    if totals.fallback_calls:
        premium = dollars(totals.fallback_premium, digits)
        yield f"Falling back cost ${premium} more than flex would have, with the same tokens."
    if totals.possibly_billed_attempts:
        most = dollars(totals.possibly_billed, digits)
        yield (
            f"Attempts without an answer: {totals.possibly_billed_attempts}. They may have been "
            f"billed, too: at most ${most} where that is known."
        )
    if "LlamaIndex" in totals.by_tag:
        yield "LlamaIndex's embeddings are not in it: they have no lanes, and go past flextier."
    if totals.unpriced_calls:
        yield f"Calls without a known price: {totals.unpriced_calls}. They are in no amount."


def _row(name: str, sums: Sums, digits: int) -> tuple[str, ...]:
    return (
        name,
        f"{sums.calls:,}",
        f"{sums.input_tokens:,}",
        f"{sums.output_tokens:,}",
        dollars(sums.cost, digits),
        dollars(sums.standard_cost, digits),
        dollars(sums.saved, digits),
        f"{100 * sums.saved / sums.standard_cost:.0f} %" if sums.standard_cost else "",
    )
