"""The warnings that calls pay full price: no flex for the model, or no time for it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from flextier._utils.safe_warn import safe_warn
from flextier.lanes import FLEX, STANDARD, Lane
from flextier.policy import FlexPolicy
from flextier.pricing.model_lanes import discounts_of_model


@lru_cache(maxsize=64)
def warn_without_flex(model: str, lanes: tuple[str, ...], lane_support: tuple[str, ...]) -> None:
    """Warn once that the API has refused flex to a model, if its calls go to standard next."""
    following = lanes[lanes.index(FLEX.name) + 1 :] if FLEX.name in lanes else ()
    if following[:1] != (STANDARD.name,):
        return
    text = f"{model} has no flex: its calls go to standard, at full price."
    known = discounts_of_model(model, lane_support)
    if others := {name: words for name, words in known.items() if name not in (*lanes, FLEX.name)}:
        text += (
            f" It has {' and '.join(others.values())}: set "
            f'policy={{"lanes": {(*others, STANDARD.name)}}}, or FLEXTIER_LANES=auto and '
            "FLEXTIER_DEADLINE"
        )
    safe_warn(text)


_warned_of_deadline = False


def warn_short_deadline(policy: FlexPolicy, lanes: Sequence[Lane], lane: Lane) -> None:
    """Warn, once in this process, if calls on ``lane`` skip flex because of their deadline."""
    global _warned_of_deadline
    deadline, reserve = policy.deadline, policy.standard_reserve
    if _warned_of_deadline or lane is not STANDARD or FLEX not in lanes:
        return
    if deadline is not None and deadline <= reserve:
        _warned_of_deadline = True
        safe_warn(
            f"deadline={deadline:g} buys no flex: standard_reserve={reserve:g} seconds of it are "
            "kept for standard, so calls go to standard at once, at full price. Set a longer "
            "deadline, or a smaller standard_reserve"
        )
