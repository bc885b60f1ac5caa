"""The lanes of a call under ``lanes="auto"``, and why: a pure function of the facts passed in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import lru_cache

from flextier.costs import price_book
from flextier.lanes import LANES, STANDARD, Lane, lane_named
from flextier.lanes.batch import AUTO_MIN_CALLS
from flextier.planning.fallback import CANCEL_TIME
from flextier.policy import FlexPolicy
from flextier.pricing.model_lanes import cheapest_first, lanes_of_model

RUN_STEP = "a step of a run does not wait for other calls to form a batch"
TOO_FEW_CALLS = "too few calls were made at once lately"
"""Why a call does not wait for a batch."""


@dataclass(frozen=True, slots=True)
class Considered:
    """A lane, and whether the call may use it."""

    lane: Lane
    share: Decimal
    """Its cost as a share of standard's."""
    priced: bool
    """Whether that follows from known prices; else from the lane's general discount."""
    against: str
    """Why the call does not use it; empty if it may."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The lanes chosen for a call, and the reasons."""

    model: str
    deadline: float | None
    considered: tuple[Considered, ...]
    """The cheapest first."""
    source: str
    """Where the model's lanes are published."""
    batch_min_calls: int
    """The fewest calls at once that make a batch."""

    @property
    def lanes(self) -> list[Lane]:
        """The lanes that the call attempts, in order."""
        return [one.lane for one in self.considered if not one.against]

    @property
    def why(self) -> str:
        """The choice and its reasons, in a line."""
        time = "no deadline" if self.deadline is None else f"{span(self.deadline)} to the deadline"
        taken = ", ".join(
            f"{one.lane.name} ({100 * one.share:.0f} %)"
            for one in self.considered
            if not one.against
        )
        if self.lanes == [STANDARD]:
            taken = f"only {taken} is left"
        left_out: dict[str, list[str]] = {}
        for one in self.considered:
            if one.against:
                left_out.setdefault(one.against, []).append(one.lane.name)
        reasons = [f"not {', '.join(names)}: {against}" for against, names in left_out.items()]
        return "; ".join([f"auto, {self.model}, {time}: {taken}", *reasons])


def plan(
    model: str,
    policy: FlexPolicy,
    declined: Mapping[str, str],
    unsupported: frozenset[str] = frozenset(),
    *,
    no_batch: str = "",
) -> Plan:
    """Choose the lanes of a call; the ``lanes`` of the policy are ignored.

    ``declined`` has the reasons of lanes that cannot take the call, ``unsupported`` the lanes that
    the API has rejected for this model; ``no_batch`` is why the call does not wait for a batch.
    """
    # Part of the cache key: prices change with the day and with the price book.
    prices = (price_book(), date.today())
    return _plan(model, policy, tuple(sorted(declined.items())), unsupported, no_batch, prices)


@lru_cache(maxsize=512)
def _plan(
    model: str,
    policy: FlexPolicy,
    declined: tuple[tuple[str, str], ...],
    unsupported: frozenset[str],
    no_batch: str,
    prices: tuple[object, date],
) -> Plan:
    model_lanes = lanes_of_model(model, policy.lane_support)
    reasons = dict(declined)

    def against(lane: Lane) -> str:
        if lacks := model_lanes.against.get(lane.family):
            return lacks
        if not unsupported.isdisjoint((lane.key, lane.name)):
            return f"the API does not offer it for {model}"
        why = _too_little_time(lane, policy) or reasons.get(lane.name, "")
        return why or (no_batch if lane.execution == "batch" else "")

    lanes = []
    for lane in (lane_named(name, policy) for name in LANES):
        if lane.fallback_variant is not None and lane.key in unsupported:
            lane = lane.fallback_variant
        if (variant := lane.for_auto()) is not None:
            lanes.append(variant)
    considered = tuple(
        Considered(lane, share, priced, against(lane))
        for lane, share, priced in cheapest_first(lanes, model)
    )
    min_calls = max(AUTO_MIN_CALLS, policy.batch_min_calls)
    return Plan(model, policy.deadline, considered, model_lanes.source, min_calls)


def _too_little_time(lane: Lane, policy: FlexPolicy) -> str:
    left = math.inf if policy.deadline is None else policy.deadline
    if lane is STANDARD:
        return ""
    if left < lane.auto_min_deadline:
        return f"the deadline leaves less than {span(lane.auto_min_deadline)}"
    if fields := [field for field in (lane.gather_field, lane.reserve_field) if field]:
        reserve = max(policy.reserve(lane.name), policy.standard_reserve)
        needs, what = policy.gather_time(lane.name) + reserve, " and ".join(fields)
    elif lane.min_seconds:
        # As in Ladder.cancel_at: an unfinished response is cancelled before the reserve.
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
