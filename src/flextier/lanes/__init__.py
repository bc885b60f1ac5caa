"""Lanes: the ways to buy a call, one file each."""

from flextier.lanes.base import Lane
from flextier.lanes.flex import FLEX
from flextier.lanes.registry import LANES, tier_lane
from flextier.lanes.standard import STANDARD

__all__ = ["FLEX", "LANES", "STANDARD", "Lane", "tier_lane"]
