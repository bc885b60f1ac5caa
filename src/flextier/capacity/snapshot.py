"""The state of every lane of this process. Loaded when a program asks for it."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

from flextier.capacity.account_key import LaneKey
from flextier.capacity.lane_estimator import LaneEstimator
from flextier.capacity.registry import CAPACITY, LimiterRegistry


@dataclass(frozen=True, slots=True)
class LaneState:
    """The state of one lane in this process, at one moment."""

    base_url: str
    account: str
    """A hash of the account's key."""
    model: str
    lane: str
    state: Literal["open", "held", "shut", "unsupported"]
    """``"open"``; ``"held"`` at ``limit`` requests at once; ``"shut"``: it refuses everything;
    ``"unsupported"``: the model does not have it."""
    waiting: int
    """Calls in the queue."""
    in_flight: int
    """Requests in flight."""
    limit: int | None
    """Requests that it is known to accept at once while held or shut; None: no limit is known."""
    opens_in: float
    """Seconds until the next request may be sent, at the soonest: Retry-After, or the next probe.
    0: now; infinity: never."""
    answered: int
    """Requests that got a response."""
    refused: int
    """Requests refused for want of capacity."""
    stalled: int
    """Requests that stalled: admitted, and given up without a response."""
    refusal_rate: float
    """The share of requests that it refuses at random while open (an estimate; 0.1 at first)."""
    typical_seconds: float | None
    """Median latency of the last responses, without streams; None: fewer than 20 so far."""
    slow_seconds: float | None
    """Their 99th percentile, on which the reserve of a deadline for this lane is based."""

    def to_dict(self) -> dict[str, Any]:
        """The state as plain types; infinity stays a float."""
        return asdict(self)


def capacity_snapshot() -> tuple[LaneState, ...]:
    """The state of every lane that this process has used: open, held or shut, and its limits."""
    return states(CAPACITY, time.monotonic())


def states(registry: LimiterRegistry, now: float) -> tuple[LaneState, ...]:
    """The state of every lane that was used."""

    def show(where: tuple[str, str, str], estimator: LaneEstimator, waiting: int) -> LaneState:
        unsupported = registry.is_unsupported(LaneKey(*where, estimator.name))
        return _state_of(where, estimator, waiting, now, unsupported)

    return tuple(
        state
        for where, limiter in registry.limiters()
        for state in limiter.lanes(partial(show, where))
    )


def _state_of(
    where: tuple[str, str, str], estimator: LaneEstimator, waiting: int, now: float, never: bool
) -> LaneState:
    """The state that an estimator has."""
    hold = estimator.hold
    limit = None if hold is None else hold.limit
    opens_in = math.inf if never else max(0.0, estimator.shut_until - now)
    if hold is not None and estimator.in_flight >= hold.limit and not never:
        opens_in = max(opens_in, estimator.next_chance(now) - now, 0.0)
    return LaneState(
        *where,
        lane=estimator.name,
        state=_state(never, limit),
        waiting=waiting,
        in_flight=estimator.in_flight,
        limit=limit,
        opens_in=opens_in,
        answered=estimator.answered,
        refused=estimator.refused,
        stalled=estimator.stalled,
        refusal_rate=estimator.chance.rate,
        typical_seconds=estimator.durations.quantile(0.5),
        slow_seconds=estimator.durations.quantile(0.99),
    )


def _state(never: bool, limit: int | None) -> Literal["open", "held", "shut", "unsupported"]:
    if never:
        return "unsupported"
    if limit is None:
        return "open"
    return "held" if limit else "shut"
