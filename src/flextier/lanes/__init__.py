"""The lanes: ways to send a call, at different prices and latencies; one file a lane."""

from flextier.lanes.background_windows import (
    BACKGROUND,
    BACKGROUND_FLEX,
    WINDOWS,
    with_whole_window,
)
from flextier.lanes.base import JOURNAL, RAW_BODY, CallFacts, Execution, Lane, Window
from flextier.lanes.batch import BATCH
from flextier.lanes.eligibility import choose, warn_about_windows, warn_ineligible
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
    "RAW_BODY",
    "STANDARD",
    "WINDOWS",
    "CallFacts",
    "Execution",
    "Lane",
    "Window",
    "choose",
    "lane_named",
    "tier_lane",
    "warn_about_windows",
    "warn_ineligible",
    "with_whole_window",
]
