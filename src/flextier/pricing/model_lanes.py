"""Which lanes a model has beside standard, and how that is known.

Looked up in this order: ``FlexPolicy.lane_support``, OpenAI's announcements of models that the
price list lacks, the rates in the price list. A model that none of them knows is assumed to have
flex and batch: a refusal costs nothing, and is recorded for later calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import lru_cache

from flextier.lanes import ANY_WINDOW, FAMILIES, FLEX, LANES, Lane
from flextier.lanes.lane_support import parse_lane_support
from flextier.lanes.models_with_windows import AFTER_FLEX, is_after_flex
from flextier.pricing.price_book import price
from flextier.pricing.usage import Usage


@dataclass(frozen=True, slots=True)
class ModelLanes:
    """The lanes of a model."""

    against: Mapping[str, str]
    """For each family of lanes beside standard, why the model has none of it; empty: it has."""
    source: str
    """Where that is published; empty: nowhere, and these lanes are worth an attempt."""

    @property
    def lanes(self) -> frozenset[str]:
        """The families that the model has."""
        return frozenset(family for family, reason in self.against.items() if not reason)


def lanes_of_model(model: str, lane_support: Sequence[str] = ()) -> ModelLanes:
    """The lanes that a model has beside standard, by the policy's entries or what is published."""
    own = _own_support(model, lane_support)
    return _published(model) if own is None else own


def _own_support(model: str, lane_support: Sequence[str]) -> ModelLanes | None:
    for entry in lane_support:
        pattern, lanes = parse_lane_support(entry)
        if fnmatchcase(model, pattern):  # the first one counts
            source = f"FlexPolicy.lane_support: {entry}"
            against = {
                x: "" if x in lanes else _lacks(model, FAMILIES[x], source) for x in FAMILIES
            }
            return ModelLanes(against, source)
    return None


def _lacks(model: str, lane: Lane, source: str) -> str:
    return f"{model} has no {lane.feature}, by {source}"


def needs_windows(model: str, lane_support: Sequence[str] = ()) -> bool:
    """Whether a model has completion windows and no flex, so that its discount needs the
    Responses API. Does not load the price list."""
    own = _own_support(model, lane_support)
    if own is not None:
        return ANY_WINDOW in own.lanes and FLEX.name not in own.lanes
    return FAMILIES[ANY_WINDOW].lacks(model) == "" and bool(FLEX.lacks(model))


@lru_cache(maxsize=256)
def _published(model: str) -> ModelLanes:
    against = {family: lane.lacks(model) for family, lane in FAMILIES.items()}
    known = {family: reason for family, reason in against.items() if reason is not None}
    if len(known) == len(against):
        return ModelLanes(known, AFTER_FLEX if is_after_flex(model) else "")
    from flextier.pricing import price_list

    entry = price_list.find_entry(price_list.snapshot(), model, None)
    source = "" if entry is None else f"the price list's entry {entry.name}"
    for family in against.keys() - known:
        lane = FAMILIES[family]
        listed = lane.price.listed_as
        is_lacking = entry is not None and listed and entry.tier_since(listed) is None
        known[family] = _lacks(model, lane, source) if is_lacking else ""
    return ModelLanes(known, source)


def discounts_of_model(model: str, lane_support: Sequence[str] = ()) -> dict[str, str]:
    """The families of lanes that a model is known to have, each with its discount in words."""
    found = lanes_of_model(model, lane_support)
    return {x: _discount(x) for x in FAMILIES if found.source and x in found.lanes}


def _discount(family: str) -> str:
    """Such as ``batch (50 % less)``."""
    lanes = [lane for lane in LANES.values() if lane.family == family]
    shares = sorted({lane.price.share or 1 for lane in lanes} - {1}, reverse=True)
    less = " or ".join(f"{100 - 100 * share:.0f}" for share in shares)
    return f"{lanes[0].feature} ({less} % less)"


_TYPICAL = Usage(input_tokens=3000, output_tokens=1000)
"""Weighs discounts on input and output where they differ: three tokens in for one out."""


def share_of(lane: Lane, model: str) -> tuple[Decimal, bool]:
    """A lane's cost as a share of standard's, and whether that follows from known prices."""
    try:
        cost = price(_TYPICAL, model=model, lane=lane.name)
    except ValueError:  # the model has no price yet on this day
        return _by_guide(lane), False
    if cost.total is None or not cost.standard:
        return _by_guide(lane), False
    return cost.total / cost.standard, True


def _by_guide(lane: Lane) -> Decimal:
    return Decimal(1) if lane.price.share is None else lane.price.share


def cheapest_first(lanes: Sequence[Lane], model: str) -> list[tuple[Lane, Decimal, bool]]:
    """The lanes with their shares, the cheapest first; ties in a fixed order."""
    found = [(lane, *share_of(lane, model)) for lane in lanes]
    return sorted(found, key=lambda one: (one[1], _by_guide(one[0]), one[0].name))
