"""The cost of a call, or an unpriced cost with its reason; a missing price raises nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timezone
from decimal import Decimal

from flextier.lanes import JOURNAL
from flextier.pricing.cost import Cost
from flextier.pricing.price_book import price_book
from flextier.pricing.usage import Usage

_NO_USAGE = (
    "the response reports no readable usage; a chat stream reports it with "
    'stream_options={"include_usage": True}'
)


def cost_known(usage: Usage | None, models: Sequence[str], lane: str, at: float) -> Cost:
    """The cost of a usage; unpriced, with the reason, where no price is known.

    Args:
        usage: the tokens; None: unknown.
        models: the model's names, the likeliest first. The first that has a price counts; a name
            that the price book of this process knows of its own comes before the others.
        lane: the lane that was billed.
        at: when, in seconds since the epoch.
    """
    if lane == JOURNAL:
        return Cost(models[0], lane, "exact", None, None, None, *[Decimal(0)] * 5)
    if usage is None:
        return Cost(models[0], lane, "unpriced", _NO_USAGE)
    unpriced: Cost | None = None
    own = price_book().has_own
    for model in sorted(models, key=lambda name: not own(name)) if len(models) > 1 else models:
        cost = _priced(usage, model, lane, at)
        if cost.basis != "unpriced":
            return cost
        unpriced = unpriced or cost
    assert unpriced is not None, "models is empty"
    return unpriced


def warm() -> None:
    """Load the price list, a fifth of a second once, now: no call waits for it then."""
    cost_known(Usage(0, 0), ("o3",), "flex", time.time())


def _priced(usage: Usage, model: str, lane: str, at: float) -> Cost:
    moment = datetime.fromtimestamp(at, timezone.utc)
    try:
        return price_book().price(usage, model=model, lane=lane, at=moment)
    except ValueError as error:
        return Cost(model, lane, "unpriced", str(error))
