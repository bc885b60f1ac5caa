"""The warning that a model's calls pay full price, and the discounted lanes that it has instead."""

from __future__ import annotations

from functools import lru_cache

from flextier._utils.safe_warn import safe_warn
from flextier.lanes import FLEX, STANDARD
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
            f" It has {' and '.join(others.values())}: set lanes={(*others, STANDARD.name)}, or "
            "FLEXTIER_LANES=auto and FLEXTIER_DEADLINE"
        )
    safe_warn(text, stacklevel=None)
