"""What a tool's program and flextier counted, beside the simulator's books."""

from __future__ import annotations

from dataclasses import fields
from decimal import Decimal
from typing import Any

from flextier.costs import CostTotals, Usage, price

_TOKENS = [field.name for field in fields(Usage)]
NO_REPORT: dict[str, Any] = {
    "asked": 0,
    "problems": ["no report, see log.txt"],
    "totals": CostTotals().to_dict(),
    "tokens": None,
    "cost": None,
}


def compared(report: dict[str, Any], stats: dict[str, Any], met: str) -> dict[str, Any]:
    """A program's report beside the simulator's books.

    Args:
        report: what the program and flextier counted.
        stats: the simulator's.
        met: the figure of ``stats`` that is not zero in this weather.
    """
    billed = [
        (model, tier, tokens)
        for model, tiers in stats["billed"].items()
        for tier, tokens in tiers.items()
        if not model.startswith("text-embedding")  # passed through, and not counted
    ]
    usage = {field: sum(tokens[field] for _, _, tokens in billed) for field in _TOKENS}
    cost = sum((_cost(model, tier, tokens) for model, tier, tokens in billed), Decimal(0))
    standard = sum((_cost(model, "default", tokens) for model, _, tokens in billed), Decimal(0))
    totals = report["totals"]
    lanes = {lane: sums["calls"] for lane, sums in totals["by_lane"].items()}
    wrong = list(report["problems"])
    if not stats[met]:
        wrong.append("the weather was not met")
    figures = []
    if (counted := {field: totals[field] for field in usage}) != usage:
        figures.append(f"tokens {counted}, billed {usage}")
    if Decimal(totals["cost"]) != cost:
        figures.append(f"cost {totals['cost']}, billed {cost}")
    if lanes != _answers_by_lane(billed):
        figures.append(f"calls {lanes}, billed {_answers_by_lane(billed)}")
    return {
        "wrong": wrong + figures,
        "asked": report["asked"],
        "right": report["asked"] - len(report["problems"]),
        "lanes": lanes,
        "refusals": stats["refusals"],
        "stalls": stats["stalls"],
        "figures_right": not figures,
        "usage": usage,
        "cost": str(cost),
        "standard_cost": str(standard),
        "own_tokens": report["tokens"],
        "own_cost": report["cost"],
    }


def _answers_by_lane(billed: list[tuple[str, str, dict[str, int]]]) -> dict[str, int]:
    lanes: dict[str, int] = {}
    for _, tier, tokens in billed:
        lane = "standard" if tier == "default" else tier
        lanes[lane] = lanes.get(lane, 0) + tokens["requests"]
    return lanes


def _cost(model: str, tier: str, tokens: dict[str, int]) -> Decimal:
    usage = Usage(**{field: tokens[field] for field in _TOKENS})
    total = price(usage, model=model, lane=tier).total
    assert total is not None, f"no price of {model} on {tier}"
    return total
