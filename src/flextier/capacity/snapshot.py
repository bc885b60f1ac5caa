"""A lane's state as users see it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from flextier.capacity.lane_estimator import LaneEstimator


@dataclass(frozen=True, slots=True)
class LaneState:
    """What this process knows of one lane, at one moment."""

    base_url: str
    account: str
    """A name for the account, which gives no key away."""
    model: str
    lane: str
    state: Literal["open", "held", "shut", "unsupported"]
    """``"open"``; ``"held"`` at ``limit`` requests at once; ``"shut"``: it refuses everything;
    ``"unsupported"``: it does not serve this model."""
    waiting: int
    """Calls that wait to be let in."""
    in_flight: int
    """Requests that are out."""
    limit: int | None
    """Requests that it is known to take at once while it is held or shut; None: no limit is known.
    """
    opens_in: float
    """Seconds until it may be asked again, at the soonest: the server's word, or the next probe.
    0: now; infinity: never."""
    answered: int
    """Requests answered."""
    refused: int
    """Requests refused for want of capacity."""
    stalled: int
    """Requests that it took and then left unanswered."""
    refusal_rate: float
    """The share of requests that it refuses at random while it is open (a guess; 0.1 at first)."""
    typical_seconds: float | None
    """The median of what its last answers took, streams apart; None: fewer than 20 so far."""
    slow_seconds: float | None
    """The same, of 99 in 100: what is kept of a deadline for this lane."""

    def to_dict(self) -> dict[str, Any]:
        """The state as plain types; infinity stays a float."""
        return asdict(self)


def state_of(
    base_url: str,
    account: str,
    model: str,
    estimator: LaneEstimator,
    waiting: int,
    now: float,
    never: bool,
) -> LaneState:
    """What an estimator shows."""
    hold = estimator.hold
    limit = None if hold is None else hold.limit
    opens_in = math.inf if never else max(0.0, estimator.shut_until - now)
    if hold is not None and estimator.in_flight >= hold.limit and not never:
        opens_in = max(opens_in, estimator.next_chance(now) - now, 0.0)
    return LaneState(
        base_url=base_url,
        account=account,
        model=model,
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
