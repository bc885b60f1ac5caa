"""A plan as a table, and as JSON."""

from __future__ import annotations

from typing import Any

from flextier._utils.formatting import text_table
from flextier.costs import price_book
from flextier.planning.auto_plan import Considered, Plan, span
from flextier.pricing.decimals import written

WAITS = {
    "standard": "seconds",
    "flex": "4 to 28 % longer than standard, as reported of two models; minutes when it is full",
    "batch": "minutes at the median, at times 8 to 24 h",
    "background-8h": "within 8 h (a target)",
    "background-2h": "within 2 h (a target)",
}
"""How long a response takes. Sources: OpenAI's guides; copilot-cli#4821 (flex)."""


def table(plan: Plan) -> str:
    """The plan as a table: lanes, prices, durations, and why other lanes are not used."""
    time = "no deadline" if plan.deadline is None else f"{span(plan.deadline)} to the deadline"
    heads = ("", "lane", "US$/M in", "out", "of standard", "an answer takes")
    rows = [_row(plan, one, str(rank)) for rank, one in enumerate(_taken(plan), start=1)]
    lines = [f"{plan.model}, {time}", "", *text_table([heads, *rows])]
    if any(one.lane.batched for one in _taken(plan)):
        few = f"{plan.batch_min_calls} calls at once or more (batch_min_calls)"
        lines += ["", f"batch: for {few}; with fewer, the next lane"]
    against = [(one.lane.name, one.against) for one in plan.considered if one.against]
    if against:
        lines += ["", "Not used:", *text_table(against)]
    return "\n".join(lines) + "\n"


def _taken(plan: Plan) -> list[Considered]:
    return [one for one in plan.considered if not one.against]


def _row(plan: Plan, one: Considered, rank: str) -> tuple[str, ...]:
    rates = _rates(plan.model, one.lane.name)
    share = f"{100 * one.share:.0f} %" + ("" if one.priced else " (general discount)")
    return (rank, one.lane.name, *(rates or ("-", "-")), share, WAITS[one.lane.name])


def _rates(model: str, lane: str) -> tuple[str, str] | None:
    """US$ per million tokens of input and output, of short prompts; None: no price is known."""
    try:
        band = price_book().sheet(model=model, lane=lane).bands[-1]
    except ValueError:
        return None
    if band.rates is None:
        return None
    return written(band.rates.input), written(band.rates.output)


def as_json(plan: Plan) -> dict[str, Any]:
    """The plan as plain JSON types; rates in US$ per million tokens, as text."""
    return {
        "model": plan.model,
        "deadline": plan.deadline,
        "lanes": [lane.name for lane in plan.lanes],
        "why": plan.why,
        "source": plan.source or None,
        "considered": [
            {
                "lane": one.lane.name,
                "tried": not one.against,
                "against": one.against or None,
                "share_of_standard": float(one.share),
                "priced": one.priced,
                "rates": _rates(plan.model, one.lane.name),
                "takes": WAITS[one.lane.name],
            }
            for one in plan.considered
        ],
    }
