"""The cost of each lane as a share of standard's, and the lanes ordered by it."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from flextier.costs import Usage, price
from flextier.lanes import Lane

_TYPICAL = Usage(input_tokens=3000, output_tokens=1000)
"""Weighs discounts on input and output where they differ: three tokens in for one out."""


def share_of(lane: Lane, model: str) -> tuple[Decimal, bool]:
    """A lane's cost as a share of standard's, and whether that follows from known prices."""
    try:
        cost = price(_TYPICAL, model=model, lane=lane.name)
    except ValueError:  # the model has no price yet on this day
        return _by_guide(lane), False
    if cost.total is None or not cost.standard:
        return _by_guide(lane), False
    return cost.total / cost.standard, True


def _by_guide(lane: Lane) -> Decimal:
    return Decimal(1) if lane.price_share is None else lane.price_share


def cheapest_first(lanes: Sequence[Lane], model: str) -> list[tuple[Lane, Decimal, bool]]:
    """The lanes with their shares, the cheapest first; ties in a fixed order."""
    found = [(lane, *share_of(lane, model)) for lane in lanes]
    return sorted(found, key=lambda one: (one[1], _by_guide(one[0]), one[0].name))
