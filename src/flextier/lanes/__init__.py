"""Lanes: the ways to buy a call, one file each."""

from flextier.lanes.base import JOURNAL, Asked, Lane
from flextier.lanes.batch import BATCH
from flextier.lanes.choosing import choose
from flextier.lanes.flex import FLEX
from flextier.lanes.registry import LANES, tier_lane
from flextier.lanes.standard import STANDARD

__all__ = ["BATCH", "FLEX", "JOURNAL", "LANES", "STANDARD", "Asked", "Lane", "choose", "tier_lane"]
