"""What lanes cost next to standard: the order in which they are tried."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from flextier.costs import Usage, price
from flextier.lanes import Lane

_TYPICAL = Usage(input_tokens=3000, output_tokens=1000)
"""Three tokens read for one written: where the share of the two differs, it counts so."""

_BY_RULE = {
    "batch": Decimal("0.5"),
    "flex": Decimal("0.5"),
    "background-8h": Decimal("0.6"),
    "background-2h": Decimal("0.7"),
    "background-soonest": Decimal(1),
    "standard": Decimal(1),
}
"""Where a model has no known price. Also the order of those that cost the same."""


def share_of(lane: str, model: str) -> tuple[Decimal, bool]:
    """What a lane costs next to standard (1: as much), and whether that is from known prices."""
    try:
        cost = price(_TYPICAL, model=model, lane=lane)
    except ValueError:  # a model that is younger than its first known price
        return _BY_RULE[lane], False
    if cost.total is None or not cost.standard:
        return _BY_RULE[lane], False
    return cost.total / cost.standard, True


def cheapest_first(lanes: Sequence[Lane], model: str) -> list[tuple[Lane, Decimal, bool]]:
    """The lanes with their shares, the cheapest first; equal ones in a fixed order."""
    ranks = list(_BY_RULE)
    found = [(lane, *share_of(lane.name, model)) for lane in lanes]
    return sorted(found, key=lambda one: (one[1], ranks.index(one[0].name)))
