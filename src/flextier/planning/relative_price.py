"""The cost of each lane as a share of standard's, and the lanes ordered by it."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from flextier.costs import Usage, price
from flextier.lanes import Lane

_TYPICAL = Usage(input_tokens=3000, output_tokens=1000)
"""Weighs discounts on input and output where they differ: three tokens in for one out."""

_BY_RULE = {
    "batch": Decimal("0.5"),
    "flex": Decimal("0.5"),
    "background-8h": Decimal("0.6"),
    "background-2h": Decimal("0.7"),
    "background-soonest": Decimal(1),
    "standard": Decimal(1),
}
"""Shares used where a model has no known price; also the order of lanes that cost the same."""


def share_of(lane: str, model: str) -> tuple[Decimal, bool]:
    """A lane's cost as a share of standard's, and whether that follows from known prices."""
    try:
        cost = price(_TYPICAL, model=model, lane=lane)
    except ValueError:  # the model has no price yet on this day
        return _BY_RULE[lane], False
    if cost.total is None or not cost.standard:
        return _BY_RULE[lane], False
    return cost.total / cost.standard, True


def cheapest_first(lanes: Sequence[Lane], model: str) -> list[tuple[Lane, Decimal, bool]]:
    """The lanes with their shares, the cheapest first; ties in a fixed order."""
    ranks = list(_BY_RULE)
    found = [(lane, *share_of(lane.name, model)) for lane in lanes]
    return sorted(found, key=lambda one: (one[1], ranks.index(one[0].name)))
