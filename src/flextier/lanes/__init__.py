"""The lanes: ways to send a call, at different prices and latencies; one file a lane."""

from flextier.lanes.background_windows import ANY_WINDOW as ANY_WINDOW
from flextier.lanes.background_windows import BACKGROUND as BACKGROUND
from flextier.lanes.background_windows import BACKGROUND_FLEX as BACKGROUND_FLEX
from flextier.lanes.background_windows import Window as Window
from flextier.lanes.base import JOURNAL as JOURNAL
from flextier.lanes.base import RAW_BODY as RAW_BODY
from flextier.lanes.base import CallFacts as CallFacts
from flextier.lanes.base import Lane as Lane
from flextier.lanes.batch import BATCH as BATCH
from flextier.lanes.eligibility import choose as choose
from flextier.lanes.eligibility import warn_ineligible as warn_ineligible
from flextier.lanes.flex import FLEX as FLEX
from flextier.lanes.registry import AUTO as AUTO
from flextier.lanes.registry import EXECUTIONS as EXECUTIONS
from flextier.lanes.registry import FAMILIES as FAMILIES
from flextier.lanes.registry import LANES as LANES
from flextier.lanes.registry import NAMES as NAMES
from flextier.lanes.registry import background_lane as background_lane
from flextier.lanes.registry import lane_named as lane_named
from flextier.lanes.registry import tier_lane as tier_lane
from flextier.lanes.served_tiers import FAST as FAST
from flextier.lanes.served_tiers import PRIORITY as PRIORITY
from flextier.lanes.standard import STANDARD as STANDARD
