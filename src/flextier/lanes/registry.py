"""The lanes by name, and by the service tier in a response. A new lane is added here."""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

from flextier.lanes.background_windows import BACKGROUND, BACKGROUND_FLEX
from flextier.lanes.base import Lane, Window
from flextier.lanes.batch import BATCH
from flextier.lanes.flex import FLEX
from flextier.lanes.standard import STANDARD


class _Knobs(Protocol):
    """The fields of ``FlexPolicy`` that decide which lane a name means."""

    @property
    def background_window(self) -> Window:
        """The window of ``background``."""

    @property
    def flex_background(self) -> bool:
        """Whether flex calls are sent as background responses."""


_TIERS = (FLEX, STANDARD, BATCH)

LANES: dict[str, Lane] = {lane.name: lane for lane in (*_TIERS, *BACKGROUND.values())}
"""The lanes, by the names in reports."""

AUTO = "auto"
"""In ``FlexPolicy.lanes``, alone: the lanes are chosen by model and deadline."""

ANY_WINDOW = "background"
"""In ``FlexPolicy.lanes``: the background lane of ``FlexPolicy.background_window``."""

NAMES = (*(lane.name for lane in _TIERS), ANY_WINDOW, *(x.name for x in BACKGROUND.values()), AUTO)
"""What ``FlexPolicy.lanes`` can name."""


def lane_named(name: str, policy: _Knobs) -> Lane:
    """The lane that a name in ``FlexPolicy.lanes`` means under the policy's other fields."""
    if name == ANY_WINDOW:
        return BACKGROUND[policy.background_window]
    if name == FLEX.name and policy.flex_background:
        return BACKGROUND_FLEX
    return LANES[name]


_BY_TIER = {tier: lane for lane in _TIERS for tier in (lane.service_tier, *lane.served_as)}


@lru_cache(maxsize=64)
def tier_lane(service_tier: str) -> Lane:
    """The lane of a ``service_tier``, requested or served; a new one for an unknown tier.

    ``"flex"`` is the flex lane, ``"default"`` the standard lane, ``"priority"`` one by that name.
    """
    return _BY_TIER.get(service_tier) or Lane(name=service_tier, service_tier=service_tier)
