"""What the calls that wait for a lane wait for, as the log says it."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from flextier.capacity.lane_estimator import LaneEstimator
from flextier.capacity.wait_queue import WaitQueue

WaitCause = Literal["full", "shut", "paced", "open"]
"""What calls wait for: capacity, the server's Retry-After, a rate limit; or, of a lane that is
open, that the last requests are admitted."""


class QueueState(NamedTuple):
    """The calls that wait for a lane."""

    waiting: int
    """Their number."""
    in_flight: int
    """Requests of the lane in flight."""
    cause: WaitCause
    opens_in: float
    """Seconds until one of them may be admitted, at the soonest."""
    first_until: float
    """When the first one leaves the lane; infinity: at no time."""


def queue_state(
    queue: WaitQueue, estimator: LaneEstimator, in_pace: bool, opens_in: float, now: float
) -> QueueState:
    """The state of a queue; ``in_pace``: whether no rate limit keeps its calls waiting."""
    head = queue.head()
    cause: WaitCause = "open" if estimator.hold is None else "full"
    if now < estimator.shut_until:
        cause = "shut"
    elif not in_pace:
        cause = "paced"
    first_until = math.inf if head is None else head.until
    return QueueState(len(queue), estimator.in_flight, cause, opens_in, first_until)
