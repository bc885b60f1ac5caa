"""What this process has learnt of its lanes' capacity, shared by its calls.

A refusal is about the account and the model, not about one call, so all calls to the same
(base URL, account, model, lane) share what was learnt, from whatever thread or event loop.
"""

from flextier.capacity.limiter import Limiter as Limiter
from flextier.capacity.permit import Permit as Permit
from flextier.capacity.permit import ProbeSpacing as ProbeSpacing
from flextier.capacity.registry import CAPACITY as CAPACITY
from flextier.capacity.registry import LaneKey as LaneKey
from flextier.capacity.registry import LimiterRegistry as LimiterRegistry
from flextier.capacity.registry import capacity_snapshot as capacity_snapshot
from flextier.capacity.snapshot import LaneState as LaneState
