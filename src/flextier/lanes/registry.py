"""The lanes by name, and by the service tier in a response. A new lane is added here."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from flextier.lanes.background_windows import ANY_WINDOW, BACKGROUND, BACKGROUND_FLEX
from flextier.lanes.base import Execution, Lane
from flextier.lanes.batch import BATCH
from flextier.lanes.flex import FLEX
from flextier.lanes.served_tiers import FAST, PRIORITY, SCALE
from flextier.lanes.standard import STANDARD

if TYPE_CHECKING:
    from flextier.policy import FlexPolicy

# Their order is that of the report page's colours.
_LANES: tuple[Lane, ...] = (FLEX, STANDARD, BATCH, *BACKGROUND.values())


LANES: dict[str, Lane] = {lane.name: lane for lane in _LANES}
"""The lanes, by the names in reports."""

FAMILIES: dict[str, Lane] = {lane.family: lane for lane in _LANES if lane is not STANDARD}
"""A lane of each family beside standard: what ``FlexPolicy.lane_support`` can name."""

AUTO = "auto"
"""In ``FlexPolicy.lanes``, alone: the lanes are chosen by model and deadline."""

EXECUTIONS: dict[str, Execution] = {
    **{lane.name: lane.execution for lane in _LANES},
    ANY_WINDOW: "background",
}
"""How calls are made on the lane that a name in ``FlexPolicy.lanes`` means, ``auto`` excepted."""

NAMES = (*EXECUTIONS, AUTO)
"""What ``FlexPolicy.lanes`` can name."""


def lane_named(name: str, policy: FlexPolicy) -> Lane:
    """The lane that a name in ``FlexPolicy.lanes`` means under the policy's other fields."""
    if name == ANY_WINDOW:
        return BACKGROUND[policy.background_window]
    if name == FLEX.name and policy.flex_background:
        return BACKGROUND_FLEX
    return LANES[name]


def background_lane(name: str) -> Lane | None:
    """The lane of that name on which a background response was accepted; None: there is none."""
    return BACKGROUND_FLEX if name == FLEX.name else LANES.get(name)


# Reversed: of lanes with the same tier, the first one counts.
_BY_TIER = {
    tier: lane
    for lane in reversed((*_LANES, PRIORITY, FAST, SCALE))
    for tier in (lane.name, lane.service_tier, *lane.served_as)
}


@lru_cache(maxsize=64)
def tier_lane(service_tier: str) -> Lane:
    """The lane of a ``service_tier``, requested or served, or of a lane's name.

    ``"flex"`` is the flex lane, ``"default"`` the standard lane. An unknown tier is a new lane by
    that name, without a price.
    """
    return _BY_TIER.get(service_tier) or Lane(name=service_tier, service_tier=service_tier)
