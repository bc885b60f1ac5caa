"""What the process knows of a call's lanes: which there are, which are shut, what they take.

Not the call's own methods: that would be a knot that only the garbage collector unties.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flextier._utils.clock import Clock
from flextier.capacity import LaneKey, Limiter, LimiterRegistry
from flextier.lanes import (
    BACKGROUND_FLEX,
    LANES,
    STANDARD,
    CallFacts,
    Lane,
    lane_named,
    warn_ineligible,
)
from flextier.policy import FlexPolicy

if TYPE_CHECKING:
    from flextier.planning.auto_plan import Plan


class LaneStatus:
    """What the process knows of the lanes that a call may take."""

    __slots__ = ("_capacity", "_clock", "_limiter", "_model", "_where")

    def __init__(
        self,
        capacity: LimiterRegistry,
        clock: Clock,
        where: tuple[str, str],
        model: str,
        limiter: Limiter,
    ) -> None:
        self._capacity = capacity
        self._clock = clock
        self._where = where
        self._model = model
        self._limiter = limiter

    def shut_for(self, lane: Lane) -> float:
        """Seconds until a lane may be asked; infinity: never, for this model."""
        key = LaneKey(*self._where, self._model, lane.name)
        return self._capacity.shut_for(key, self._clock.now())

    def lanes(self, policy: FlexPolicy) -> list[Lane]:
        """The policy's ladder, as far as names go: what a call can take is for each to say."""
        return [self._possible(lane_named(name, policy)) for name in policy.lanes]

    def plan(self, policy: FlexPolicy, asked: CallFacts, no_batch: str) -> Plan:
        """The ladder that follows from model and deadline.

        ``apart``: why the call is not to wait for others. One that costs full price only for the
        way it is made is told so, once in a process.
        """
        from flextier.planning.auto_plan import plan

        tried = (*LANES.values(), BACKGROUND_FLEX)
        declined = {lane.name: why for lane in LANES.values() if (why := lane.ineligible(asked))}
        where = (*self._where, self._model)
        never = {x.key for x in tried if self._capacity.is_unsupported(LaneKey(*where, x.key))}
        planned = plan(self._model, policy, declined, frozenset(never), no_batch=no_batch)
        if all(lane.batched or lane is STANDARD for lane in planned.lanes):
            for one in planned.considered:
                if one.lane.window is not None and one.against == declined.get(one.lane.name):
                    warn_ineligible(one.lane.name, one.against, STANDARD.name)
                    break
        return planned

    def _possible(self, lane: Lane) -> Lane:
        """The lane, or the other one of its name, where it is known not to be for this model."""
        if lane.fallback_variant is None:
            return lane
        never = self._capacity.is_unsupported(LaneKey(*self._where, self._model, lane.key))
        return lane.fallback_variant if never else lane

    def latency(self, lane: Lane, share: float) -> float | None:
        """Within how many seconds that share of a lane's last answers came; None: not known."""
        return self._limiter.latency(lane.name, share)
