"""Entries of ``FlexPolicy.lane_support``: the lanes that a model supports, by the user's word."""

from __future__ import annotations

from flextier.lanes.registry import FAMILIES


def parse_lane_support(entry: str) -> tuple[str, frozenset[str]]:
    """The pattern and the lanes of an entry such as ``"gpt-7*=batch+background"``."""
    pattern, equals, names = entry.partition("=")
    lanes = frozenset(name.strip() for name in names.split("+") if name.strip())
    if not pattern.strip() or not equals or not lanes <= FAMILIES.keys():
        raise ValueError(
            f"{entry!r} must be a model or shell pattern and its lanes, such as "
            f"'gpt-7*=batch+background'; lanes: {', '.join(FAMILIES)}"
        )
    return pattern.strip(), lanes
