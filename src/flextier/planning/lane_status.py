"""The state of a call's lanes in this process: unsupported, shut, and their latencies.

A class apart from the call: bound methods of the call would make a reference cycle with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flextier._utils.clock import Clock
from flextier.capacity import AccountKey, LaneKey, Limiter, LimiterRegistry
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
    """What this process has learnt about the lanes of one call."""

    __slots__ = ("_capacity", "_clock", "_model", "_where", "limiter")

    def __init__(
        self,
        capacity: LimiterRegistry,
        clock: Clock,
        where: AccountKey,
        model: str,
        limiter: Limiter,
    ) -> None:
        self._capacity = capacity
        self._clock = clock
        self._where = where
        self._model = model
        self.limiter = limiter

    def shut_for(self, lane: Lane) -> float:
        """Seconds until the server allows requests on a lane; infinity: model not supported."""
        if self._needs_refused_field(lane):
            return math.inf
        key = LaneKey(*self._where, self._model, lane.name)
        return self._capacity.shut_for(key, self._clock.now())

    def is_unsupported(self, lane: Lane) -> bool:
        """Whether the server is known not to support a lane for the model."""
        key = LaneKey(*self._where, self._model, lane.key)
        return self._capacity.is_unsupported(key) or self._needs_refused_field(lane)

    def _needs_refused_field(self, lane: Lane) -> bool:
        """Whether a lane needs ``service_tier``, and the server rejects that."""
        if lane.batched or lane.service_tier == STANDARD.service_tier:
            return False
        where = self._where.base_url, self._model
        return not self._capacity.takes_field("service_tier", *where)

    def lanes(self, policy: FlexPolicy) -> list[Lane]:
        """The lanes that the policy names; which of them can take the call is not checked here."""
        return [self._supported_variant(lane_named(name, policy)) for name in policy.lanes]

    def rejected(self, lanes: Sequence[Lane]) -> str:
        """Which of the lanes the server is known to reject, in words; empty: none."""
        reason = f"the API does not offer it for {self._model}"
        return "; ".join(
            f"not {lane.name}: "
            + ("the server rejects service_tier" if self._needs_refused_field(lane) else reason)
            for lane in lanes
            if self.is_unsupported(lane)
        )

    def plan(self, policy: FlexPolicy, facts: CallFacts, no_batch: str) -> Plan:
        """The lanes chosen for the call by its model and deadline.

        Warns once a process where a call pays full price only because of the way it is made.
        ``no_batch``: why the call does not wait for a batch; empty if it may.
        """
        from flextier.planning.auto_plan import plan

        candidates = (*LANES.values(), BACKGROUND_FLEX)
        declined = {lane.name: why for lane in LANES.values() if (why := lane.ineligible(facts))}
        unsupported = frozenset(lane.key for lane in candidates if self.is_unsupported(lane))
        planned = plan(self._model, policy, declined, unsupported, no_batch=no_batch)
        if all(lane.execution == "batch" or lane is STANDARD for lane in planned.lanes):
            for one in planned.considered:
                if one.lane.window is not None and one.against == declined.get(one.lane.name):
                    warn_ineligible(one.lane.name, one.against, STANDARD.name)
                    break
        return planned

    def _supported_variant(self, lane: Lane) -> Lane:
        """The lane, or its fallback variant where the model is known not to support it."""
        is_variant = lane.fallback_variant is not None and self.is_unsupported(lane)
        return lane.fallback_variant or lane if is_variant else lane

    def latency(self, lane: Lane, share: float) -> float | None:
        """Seconds within which a share of a lane's last responses arrived; None: unknown."""
        return self.limiter.latency(lane.name, share)
