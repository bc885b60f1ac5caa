"""explain(): the lanes that ``lanes="auto"`` would choose for a call."""

from __future__ import annotations

from typing import Any

from flextier.lanes import AUTO, LANES, CallFacts
from flextier.planning.auto_plan import RUN_STEP, Plan, plan
from flextier.policy import FlexPolicy

ENDPOINTS = {"responses": "/responses", "chat": "/chat/completions"}


def explain(
    model: str,
    *,
    deadline: float | None = None,
    api: str = "responses",
    stream: bool = False,
    step: bool = False,
    policy: FlexPolicy | dict[str, Any] | None = None,
) -> Plan:
    """The lanes that ``lanes="auto"`` chooses for a call, and why; nothing is sent.

    Args:
        model: its name.
        deadline: seconds for the whole call. None: the policy's.
        api: ``"responses"`` or ``"chat"`` (Chat Completions).
        stream: whether the call is streamed.
        step: whether it is a step of a run (an agent's call), which does not wait for a batch.
        policy: the other knobs. None: from the environment.

    Raises:
        ValueError: ``api`` is unknown.
        PolicyError: a knob has an invalid value.

    Lanes that the API has rejected in this process are not left out.
    """
    if api not in ENDPOINTS:
        raise ValueError(f"api={api!r}: one of {', '.join(ENDPOINTS)}")
    if isinstance(policy, FlexPolicy):
        knobs = policy.replace(lanes=(AUTO,))
    else:  # the deadline may be too short for the default lanes, yet long enough here
        knobs = FlexPolicy(**{**(policy or {}), "lanes": (AUTO,)})
    if deadline is not None:
        knobs = knobs.replace(deadline=deadline)
    facts = CallFacts(ENDPOINTS[api], {"model": model}, stream)
    declined = {lane.name: why for lane in LANES.values() if (why := lane.ineligible(facts))}
    return plan(model, knobs, declined, no_batch=RUN_STEP if step else "")
