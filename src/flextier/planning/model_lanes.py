"""Which lanes a model has beside standard, and how that is known.

Looked up in this order: ``FlexPolicy.lane_support``, OpenAI's announcements of models that the
price list lacks, the rates in the price list. A model that none of them knows is assumed to have
flex and batch: a refusal costs nothing, and is recorded for later calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import lru_cache

from flextier.costs import Usage, price
from flextier.lanes import Lane
from flextier.lanes.model_support import has_windows, is_after_flex, parse_lane_support

_WORDS = {"batch": "batch", "flex": "flex", "background": "completion windows"}


@dataclass(frozen=True, slots=True)
class ModelLanes:
    """The lanes of a model."""

    lanes: frozenset[str]
    source: str
    """Where that is published; empty: nowhere, and these lanes are worth an attempt."""
    names_windows: bool = True
    """Whether the source lists completion windows, too."""

    def lacks(self, name: str, model: str) -> str:
        """Why the model has no ``"batch"``, ``"flex"`` or ``"background"``; empty if it has."""
        if name in self.lanes:
            return ""
        if not self.source or (name == "background" and not self.names_windows):
            return f"whether {model} has {_WORDS[name]} is unknown (set FlexPolicy.lane_support)"
        return f"{model} has no {_WORDS[name]}, by {self.source}"


_AFTER_FLEX = ModelLanes(
    frozenset({"batch", "background"}), "OpenAI's flex guide, GPT-6.2 and later"
)


def lanes_of_model(model: str, lane_support: Sequence[str] = ()) -> ModelLanes:
    """The lanes that a model has beside standard.

    Args:
        model: its name.
        lane_support: the policy's entries; the first pattern that matches counts.
    """
    for entry in lane_support:
        pattern, lanes = parse_lane_support(entry)
        if fnmatchcase(model, pattern):
            return ModelLanes(lanes, f"FlexPolicy.lane_support: {entry}")
    return _published(model)


@lru_cache(maxsize=256)
def _published(model: str) -> ModelLanes:
    return _AFTER_FLEX if is_after_flex(model) else _listed(model)


def needs_windows(model: str, lane_support: Sequence[str] = ()) -> bool:
    """Whether a model has completion windows and no flex, so that its discount needs the
    Responses API. Does not load the price list."""
    own = next((x for x in map(parse_lane_support, lane_support) if fnmatchcase(model, x[0])), None)
    lanes = _AFTER_FLEX.lanes if own is None else own[1]
    known = own is not None or is_after_flex(model)
    return known and "background" in lanes and "flex" not in lanes


def _listed(model: str) -> ModelLanes:
    from flextier.pricing import price_list
    from flextier.pricing.lane_rate_sources import LANE_RATE_SOURCES

    windows = {"background"} if has_windows(model) else set()
    entry = price_list.find_entry(price_list.snapshot(), model, None)
    if entry is None:
        return ModelLanes(frozenset({"batch", "flex", *windows}), "")
    found = {
        x
        for x in ("batch", "flex")
        if entry.tier_since(LANE_RATE_SOURCES[x].price_context) is not None
    }
    source = f"the price list's entry {entry.name}"
    return ModelLanes(frozenset(found | windows), source, names_windows=False)


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
    return Decimal(1) if lane.price_share is None else lane.price_share


def cheapest_first(lanes: Sequence[Lane], model: str) -> list[tuple[Lane, Decimal, bool]]:
    """The lanes with their shares, the cheapest first; ties in a fixed order."""
    found = [(lane, *share_of(lane, model)) for lane in lanes]
    return sorted(found, key=lambda one: (one[1], _by_guide(one[0]), one[0].name))
