"""Which lanes a call can take at all, before any of them is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from flextier._utils.safe_warn import safe_warn
from flextier.errors import PolicyError
from flextier.lanes.base import CallFacts, Lane
from flextier.lanes.model_support import has_windows


@dataclass(frozen=True, slots=True)
class EligibleLanes:
    """The lanes that take a call."""

    lanes: list[Lane]
    plain: bool = False
    """Whether what they give is no stream, although one was asked for."""


def choose(lanes: Sequence[Lane], asked: CallFacts, underway: Lane | None = None) -> EligibleLanes:
    """The lanes that take the call; a reason that one does not is told once in a process.

    Args:
        lanes: the ladder.
        asked: the call.
        underway: where it was sent before, and is paid for; None: nowhere.

    Raises:
        PolicyError: none of them takes it.
    """
    lanes = [_taking(lane, asked) for lane in lanes]
    reasons = {lane.name: lane.ineligible(asked) for lane in lanes}
    willing = [lane for lane in lanes if not reasons[lane.name]]
    if underway is not None:
        willing = [underway, *(lane for lane in willing if lane.name != underway.name)]
    if willing:
        for name, reason in reasons.items():
            if reason:
                warn_ineligible(name, reason, willing[0].name)
        return EligibleLanes(willing)
    plainly = replace(asked, streamed=False)
    if asked.streamed and (lanes := [lane for lane in lanes if not lane.ineligible(plainly)]):
        return EligibleLanes(lanes, plain=True)
    why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    raise PolicyError(
        f"no lane of FlexPolicy.lanes (FLEXTIER_LANES) takes this call ({why}): add another lane"
    )


def _taking(lane: Lane, asked: CallFacts) -> Lane:
    """The lane, or the other one of its name where that takes the call and it does not."""
    return (
        lane.fallback_variant
        if lane.fallback_variant is not None and lane.ineligible(asked)
        else lane
    )


@lru_cache(maxsize=64)
def warn_about_windows(model: str) -> None:
    """Say once that a model that has no flex is sold for less all the same."""
    if has_windows(model):
        safe_warn(
            f"{model} has no flex, so that its calls go to standard, at full price. It has "
            'completion windows, for 30 or 40 % less: FlexPolicy(lanes="auto", deadline=...) '
            "(FLEXTIER_LANES=auto)",
            stacklevel=8,
        )


@lru_cache(maxsize=64)
def warn_ineligible(lane: str, reason: str, following: str) -> None:
    """Say once why calls do not take a lane."""
    safe_warn(f"calls that go to {following} instead of {lane}: {reason}", stacklevel=8)
