"""The ladder of a call under ``lanes="auto"``: no I/O, no clock; facts in, lanes and why out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from functools import lru_cache

from flextier.costs import price_book
from flextier.lanes import (
    BACKGROUND,
    BACKGROUND_FLEX,
    BATCH,
    FLEX,
    STANDARD,
    Lane,
    with_whole_window,
)
from flextier.lanes.lane_support import SUPPORTABLE
from flextier.planning.fallback import CANCEL_TIME
from flextier.planning.model_lanes import lanes_of_model
from flextier.planning.relative_price import cheapest_first
from flextier.policy import FlexPolicy

MIN_BATCH_CALLS = 10
"""The fewest calls at once that are taken for bulk work, which is worth a file of its own."""

RUN_STEP = "a step of a run does not wait for a file of calls"
TOO_FEW_CALLS = "too few calls were made at once lately"
"""Why a call is not to wait for others."""

_BATCH_LANE = replace(BATCH, min_calls=MIN_BATCH_CALLS)

BATCH_MIN_DEADLINE = 6 * 3600.0
"""Seconds that a deadline has to leave for a batch: most are done within minutes, some in 8 to 24
hours; what is not done in time goes on to the next lane."""


@dataclass(frozen=True, slots=True)
class Considered:
    """A lane, and whether a call is tried on it."""

    lane: Lane
    share: Decimal
    """What it costs next to standard."""
    priced: bool
    """Whether that is from known prices; else it is what OpenAI says of the lane in general."""
    against: str
    """Why it is not tried; empty: it is."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A ladder, and how it came about."""

    model: str
    deadline: float | None
    considered: tuple[Considered, ...]
    """The cheapest first."""
    source: str
    """How it is known what the model is sold on."""
    batch_min_calls: int
    """The fewest calls at once that make a batch."""

    @property
    def lanes(self) -> list[Lane]:
        """The ladder."""
        return [one.lane for one in self.considered if not one.against]

    @property
    def why(self) -> str:
        """The choice, in a line."""
        time = "no deadline" if self.deadline is None else f"{span(self.deadline)} to the deadline"
        taken = ", ".join(
            f"{one.lane.name} ({100 * one.share:.0f} %)"
            for one in self.considered
            if not one.against
        )
        left_out: dict[str, list[str]] = {}
        for one in self.considered:
            if one.against:
                left_out.setdefault(one.against, []).append(one.lane.name)
        told = [f"not {', '.join(names)}: {against}" for against, names in left_out.items()]
        return "; ".join([f"auto, {self.model}, {time}: {taken}", *told])


def plan(
    model: str,
    policy: FlexPolicy,
    declined: Mapping[str, str],
    never: frozenset[str] = frozenset(),
    *,
    no_batch: str = "",
) -> Plan:
    """The ladder of a call.

    Args:
        model: its name.
        policy: the knobs; its ``lanes`` do not count.
        declined: by lane, why it cannot take the call; lanes that can are not in it.
        never: the lanes of which the API has said that they are not for the model.
        no_batch: why it is not to wait for others that would make a batch with it; empty: it may.
    """
    # Prices change with the day, and with the book.
    prices = (price_book(), date.today())
    return _plan(model, policy, tuple(sorted(declined.items())), never, no_batch, prices)


@lru_cache(maxsize=512)
def _plan(
    model: str,
    policy: FlexPolicy,
    declined: tuple[tuple[str, str], ...],
    never: frozenset[str],
    no_batch: str,
    prices: tuple[object, date],
) -> Plan:
    offer = lanes_of_model(model, policy.lane_support)
    reasons = dict(declined)

    def against(lane: Lane) -> str:
        kind = lane.name if lane.name in SUPPORTABLE else "background"
        if lane is not STANDARD and (lacks := offer.lacks(kind, model)):
            return lacks
        if not never.isdisjoint((lane.key, lane.name)):
            return f"the API has said that it is not for {model}"
        why = _too_little_time(lane, policy) or reasons.get(lane.name, "")
        return why or (no_batch if lane.batched else "")

    flex = BACKGROUND_FLEX if policy.flex_background and BACKGROUND_FLEX.key not in never else FLEX
    lanes = [
        _BATCH_LANE,
        flex,
        with_whole_window(BACKGROUND["8h"]),
        with_whole_window(BACKGROUND["2h"]),
        STANDARD,
    ]
    considered = tuple(
        Considered(lane, share, priced, against(lane))
        for lane, share, priced in cheapest_first(lanes, model)
    )
    least = max(MIN_BATCH_CALLS, policy.batch_min_calls)
    return Plan(model, policy.deadline, considered, offer.source, least)


def _too_little_time(lane: Lane, policy: FlexPolicy) -> str:
    left = math.inf if policy.deadline is None else policy.deadline
    if lane is STANDARD:
        return ""
    if lane.batched:
        if left < BATCH_MIN_DEADLINE:
            return f"the deadline leaves less than {span(BATCH_MIN_DEADLINE)}"
        needs = policy.batch_window + max(policy.batch_reserve, policy.standard_reserve)
        what = "batch_window and batch_reserve"
    elif lane.min_seconds:
        # As the ladder has it: what is left unfinished is called off before the reserve.
        needs = lane.min_seconds + CANCEL_TIME + policy.standard_reserve
        what = f"its window, {span(CANCEL_TIME)} and standard_reserve"
    else:
        needs, what = policy.standard_reserve, "standard_reserve alone"
    return "" if left > needs else f"the deadline leaves no more than {what}, {span(needs)}"


def span(seconds: float) -> str:
    """Seconds in words: ``45 s``, ``10 min``, ``2.5 h``, ``2 days``."""
    for unit, name in ((86_400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= unit * (2 if name == "days" else 1):
            return f"{seconds / unit:.4g} {name}"
    return f"{seconds:.4g} s"
