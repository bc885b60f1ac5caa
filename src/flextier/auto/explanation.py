"""explain(): the ladder that a call would have under ``lanes="auto"``, before it is made."""

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
    """What ``lanes="auto"`` makes of a call; nothing is sent.

    Args:
        model: its name.
        deadline: seconds for the whole call. None: the policy's.
        api: ``"responses"`` or ``"chat"`` (Chat Completions).
        stream: whether a stream is asked for.
        step: whether it is a step of a run, which waits for the one before.
        policy: the other knobs. None: from the environment.

    Raises:
        ValueError: there is no such API.
        PolicyError: a knob is wrong.

    What the API has said to this process of lanes that a model does not have is not in it.
    """
    if api not in ENDPOINTS:
        raise ValueError(f"api={api!r}: one of {', '.join(ENDPOINTS)}")
    if isinstance(policy, FlexPolicy):
        knobs = policy.replace(lanes=(AUTO,))
    else:  # a deadline may be too short for the usual ladder, and not for this one
        knobs = FlexPolicy(**{**(policy or {}), "lanes": (AUTO,)})
    if deadline is not None:
        knobs = knobs.replace(deadline=deadline)
    asked = CallFacts(ENDPOINTS[api], {"model": model}, stream)
    declined = {lane.name: why for lane in LANES.values() if (why := lane.ineligible(asked))}
    return plan(model, knobs, declined, no_batch=RUN_STEP if step else "")
