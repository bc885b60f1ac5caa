"""Which lanes can take a call, decided before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from flextier._utils.safe_warn import safe_warn
from flextier.errors import PolicyError
from flextier.lanes.base import CallFacts, Lane
from flextier.lanes.standard import STANDARD


@dataclass(frozen=True, slots=True)
class EligibleLanes:
    """The lanes that can take a call."""

    lanes: list[Lane]
    plain: bool = False
    """Whether they return no stream, although the call asked for one."""
    why: str = ""
    """Why other lanes of the policy cannot take it; empty: all can."""


def choose(lanes: Sequence[Lane], facts: CallFacts, underway: Lane | None = None) -> EligibleLanes:
    """The lanes that can take the call; a PolicyError if there is none. Warns once a process for
    each lane that cannot. First comes ``underway``, on which an earlier process sent the call."""
    lanes = [(lane.ineligible(facts) and lane.fallback_variant) or lane for lane in lanes]
    reasons = {lane.name: lane.ineligible(facts) for lane in lanes}
    eligible = [lane for lane in lanes if not reasons[lane.name]]
    if underway is not None:
        eligible = [underway, *(lane for lane in eligible if lane.name != underway.name)]
    if eligible:
        left_out = {name: reason for name, reason in reasons.items() if reason}
        for name, reason in left_out.items():
            warn_ineligible(name, reason, eligible[0].name)
        notes = [f"not {name}: {reason}" for name, reason in left_out.items()]
        if left_out and eligible == [STANDARD]:
            notes.insert(0, "only standard is left")
        return EligibleLanes(eligible, why="; ".join(notes))
    unstreamed = replace(facts, streamed=False)
    if facts.streamed and (lanes := [lane for lane in lanes if not lane.ineligible(unstreamed)]):
        return EligibleLanes(lanes, plain=True)
    why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    raise PolicyError(
        f"no lane of FlexPolicy.lanes (FLEXTIER_LANES) takes this call ({why}): add another lane"
    )


@lru_cache(maxsize=64)
def warn_ineligible(lane: str, reason: str, following: str) -> None:
    """Warn once why calls skip a lane."""
    safe_warn(f"calls that go to {following} instead of {lane}: {reason}")
