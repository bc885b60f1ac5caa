"""Lanes: the ways to buy a call, one file each."""

from flextier.lanes.background import BACKGROUND, BACKGROUND_FLEX, WINDOWS, punctual
from flextier.lanes.base import JOURNAL, UNREAD, CallFacts, Lane, Window
from flextier.lanes.batch import BATCH
from flextier.lanes.eligibility import choose, tell, tell_of_windows
from flextier.lanes.flex import FLEX
from flextier.lanes.registry import ANY_WINDOW, AUTO, LANES, NAMES, lane_named, tier_lane
from flextier.lanes.standard import STANDARD

__all__ = [
    "ANY_WINDOW",
    "AUTO",
    "BACKGROUND",
    "BACKGROUND_FLEX",
    "BATCH",
    "FLEX",
    "JOURNAL",
    "LANES",
    "NAMES",
    "STANDARD",
    "UNREAD",
    "WINDOWS",
    "CallFacts",
    "Lane",
    "Window",
    "choose",
    "lane_named",
    "punctual",
    "tell",
    "tell_of_windows",
    "tier_lane",
]
