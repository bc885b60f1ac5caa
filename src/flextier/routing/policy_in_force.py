"""The policy a call is made under: the client's, overrides, ``timeout``, ``FLEXTIER_OFF``."""

from __future__ import annotations

import math
from typing import NamedTuple

from flextier._utils.clock import Clock
from flextier.calls.context import Scope
from flextier.lanes import STANDARD
from flextier.policy import MAX_PATIENCE, PREFIX, FlexPolicy
from flextier.routing.timeout_args import PER_LANE, TimeoutArgument
from flextier.variables import is_off, setting

# With FLEXTIER_OFF: one lane, and the waits of the SDK's own retries (`_calculate_retry_timeout`).
_OFF = {
    "lanes": (STANDARD.name,),
    "patience": 120.0,
    "backoff_initial": 0.5,
    "backoff_max": 8.0,
    "backoff_multiplier": 2.0,
    "start_jitter": 0.0,
    "stall_factor": 0.0,
    "flex_background": False,
    "gateway": None,
}


class PolicyInForce(NamedTuple):
    """The policy of a call."""

    policy: FlexPolicy
    limits: str
    """Its limits, as in ``CallReport.limits``."""


def policy_of_call(
    policy: FlexPolicy, timeout: TimeoutArgument, scope: Scope, clock: Clock
) -> PolicyInForce:
    """The policy of a call that begins now, given the client's without its ``timeout``.

    Raises:
        PolicyError: an override in force does not fit the policy.
    """
    if scope.changes:
        policy = policy.replace(**dict(scope.changes))
    if is_off():
        policy = policy.model_copy(update=_OFF)
    left = math.inf if scope.until is None else max(scope.until - clock.wall(), 0.0)
    return policy_in_force(policy, timeout, left)


def policy_in_force(
    policy: FlexPolicy, timeout: TimeoutArgument, left: float = math.inf
) -> PolicyInForce:
    """The policy under a ``timeout``, of a call that must end within the seconds that are left."""
    policy = timeout.apply_to(policy)
    ends = left < (math.inf if policy.deadline is None else policy.deadline)
    if ends:
        policy = policy.model_copy(update={"deadline": left})
    patient = timeout.patience_for(policy)
    sources = {"deadline": "until"} if ends else {}
    if patient is not policy:
        sources["patience"] = "timeout * (max_retries + 1)"
    if timeout.total is not None:
        sources |= {name: "timeout" for name in PER_LANE if getattr(policy, name) == timeout.total}
    shown = [
        f"{name} {value:g} s ({sources.get(name) or _source(policy, name)})"
        for name in ("deadline", "patience", *PER_LANE)
        if (value := getattr(patient, name)) is not None
    ]
    if policy.patience is None and policy.deadline is not None:
        shown.insert(1, "patience to the deadline")
    elif patient.patience is None:
        shown.insert(0, f"patience {MAX_PATIENCE:g} s (default)")
    return PolicyInForce(patient, ", ".join(shown))


def _source(policy: FlexPolicy, field: str) -> str:
    """Where the value of a field comes from."""
    if field in policy.explicit:
        return "in code"
    variable = PREFIX + field.upper()
    return variable if setting(variable) else "default"
