"""Admission control: limits the requests in flight on each lane to what the lane accepts.

A refusal concerns the account and the model, not one call, so all calls with the same
(base URL, account, model) share a limiter, across threads and event loops.
"""

from flextier.capacity.account_key import AccountKey as AccountKey
from flextier.capacity.account_key import LaneKey as LaneKey
from flextier.capacity.limiter import Limiter as Limiter
from flextier.capacity.permit import Permit as Permit
from flextier.capacity.permit import ProbeSpacing as ProbeSpacing
from flextier.capacity.rate_bucket import RateLimit as RateLimit
from flextier.capacity.rate_bucket import Unit as Unit
from flextier.capacity.registry import CAPACITY as CAPACITY
from flextier.capacity.registry import LatelyUsed as LatelyUsed
from flextier.capacity.registry import LimiterRegistry as LimiterRegistry
