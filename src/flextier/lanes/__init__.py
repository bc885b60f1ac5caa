"""The lanes: ways to send a call, at different prices and latencies; one file a lane."""

from flextier.lanes.background_windows import ANY_WINDOW, BACKGROUND, BACKGROUND_FLEX, Window
from flextier.lanes.base import JOURNAL, RAW_BODY, CallFacts, Lane
from flextier.lanes.batch import BATCH
from flextier.lanes.eligibility import choose, warn_ineligible
from flextier.lanes.flex import FLEX
from flextier.lanes.registry import (
    AUTO,
    EXECUTIONS,
    FAMILIES,
    LANES,
    NAMES,
    background_lane,
    lane_named,
    tier_lane,
)
from flextier.lanes.served_tiers import FAST, PRIORITY
from flextier.lanes.standard import STANDARD

__all__ = [
    "ANY_WINDOW",
    "AUTO",
    "BACKGROUND",
    "BACKGROUND_FLEX",
    "BATCH",
    "EXECUTIONS",
    "FAMILIES",
    "FAST",
    "FLEX",
    "JOURNAL",
    "LANES",
    "NAMES",
    "PRIORITY",
    "RAW_BODY",
    "STANDARD",
    "CallFacts",
    "Lane",
    "Window",
    "background_lane",
    "choose",
    "lane_named",
    "tier_lane",
    "warn_ineligible",
]
