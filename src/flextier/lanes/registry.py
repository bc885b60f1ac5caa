"""The lanes by name, and by the tier an answer reports."""

from __future__ import annotations

from functools import lru_cache

from flextier.lanes.base import Lane
from flextier.lanes.batch import BATCH
from flextier.lanes.flex import FLEX
from flextier.lanes.standard import STANDARD

LANES: dict[str, Lane] = {lane.name: lane for lane in (FLEX, STANDARD, BATCH)}
"""The lanes that ``FlexPolicy.lanes`` can name."""

_BY_TIER = {tier: lane for lane in LANES.values() for tier in (lane.service_tier, *lane.served_as)}


@lru_cache(maxsize=64)
def tier_lane(service_tier: str) -> Lane:
    """The lane of a ``service_tier``, asked or served; one of its own if it is not ours.

    ``"flex"`` is the flex lane, ``"default"`` the standard lane, ``"priority"`` one by that name.
    """
    return _BY_TIER.get(service_tier) or Lane(name=service_tier, service_tier=service_tier)
