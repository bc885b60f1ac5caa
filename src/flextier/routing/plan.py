"""Which lanes a call takes: a call, a policy and what is known of its lanes in, a plan out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from flextier._utils.clock import Clock
from flextier.calls.call import Call
from flextier.capacity import AccountKey, LimiterRegistry
from flextier.lanes import AUTO, CallFacts, Lane, choose, tier_lane
from flextier.lanes.standard import STOCK
from flextier.planning.lane_status import LaneStatus
from flextier.policy import FlexPolicy


class CallPlan(NamedTuple):
    """The lanes of a call."""

    lanes: tuple[Lane, ...]
    """Attempted left to right, at least one."""
    first_lane: str
    """The lane where the call is billed without a fallback."""
    status: LaneStatus
    """What is known of them."""
    patience: float
    """Seconds for which new attempts may start on a lane that refuses; infinity: to its end."""
    why: str = ""
    """Why ``auto`` chose them, or why the call cannot take others; empty: nothing to explain."""
    plain: bool = False
    """Whether no attempt may stream, although a stream was asked for."""
    declined: bool = False
    """Whether the first lane cannot take the call."""
    resumes: bool = False
    """Whether the call begins where it was sent before, on a lane that the policy does not name."""
    supported: bool = False
    """Whether the model is not known to lack one of the lanes."""


def plan_call(
    call: Call,
    policy: FlexPolicy,
    status: LaneStatus,
    facts: Callable[[], CallFacts],
    pending: Lane | None = None,
    no_batch: Callable[[], str] = str,
    *,
    stock: bool = False,
) -> CallPlan:
    """The plan of a call. Warns once a process for each lane that cannot take it.

    Args:
        call: the call.
        policy: the policy in force.
        status: what is known of the lanes of the model.
        facts: returns the facts that deferred lanes and ``auto`` need of the call.
        pending: the lane on which an earlier process has sent the call; None: none.
        no_batch: returns why the call does not wait for a batch; empty: it may. For ``auto`` only.
        stock: whether calls are sent as the stock classes send them (``FLEXTIER_OFF``).

    Raises:
        PolicyError: no lane can take the call.
    """
    why = ""
    if stock:
        lanes, why = [STOCK], "FLEXTIER_OFF is set: standard only"
    elif call.tier is not None:
        lanes = [tier_lane(call.tier)]
    elif policy.lanes == (AUTO,):
        planned = status.plan(policy, facts(), no_batch())
        lanes, why = planned.lanes, planned.why
    else:
        lanes = status.lanes(policy)
        why = status.rejected(lanes)
    first, patience = lanes[0].name, policy.patience_seconds
    if pending is None and not any(lane.deferred for lane in lanes):
        supported = all(status.shut_for(lane) < math.inf for lane in lanes)
        return CallPlan(tuple(lanes), first, status, patience, why, supported=supported)
    chosen = choose(lanes, facts(), pending)
    return CallPlan(
        tuple(chosen.lanes),
        first,
        status,
        patience,
        "; ".join(filter(None, (why, chosen.why))),
        chosen.plain,
        declined=all(lane.name != first for lane in chosen.lanes),
        resumes=pending is not None and pending.name not in {lane.name for lane in lanes},
    )


@dataclass(slots=True, eq=False)
class PlanCache:
    """The plans of a client's last calls, which hold until more is known of a lane."""

    capacity: LimiterRegistry
    clock: Clock
    plans: dict[tuple[AccountKey, str], tuple[int, FlexPolicy, CallPlan]] = field(
        default_factory=dict
    )
    """By account and model: the registry's version, the policy, and the plan for them."""

    def status(self, account: AccountKey, model: str) -> LaneStatus:
        """What is known of the lanes of a model."""
        limiter = self.capacity.limiter(*account, model, self.clock.now())
        return LaneStatus(self.capacity, self.clock, account, model, limiter)

    def keep(self, account: AccountKey, call: Call, policy: FlexPolicy, plan: CallPlan) -> None:
        """Keep a plan, if it holds for all calls of the model under the policy."""
        varies = policy.lanes == (AUTO,) or any(lane.deferred for lane in plan.lanes)
        if call.tier is None and not varies:
            if len(self.plans) > _KEPT:
                self.plans.clear()
            self.plans[account, call.model] = (self.capacity.version, policy, plan)


_KEPT = 256
