"""Tokens per minute: what accounts have used of a limit, which comes back evenly."""

from __future__ import annotations

from math import ceil

from flextier.sim.base import api_errors
from flextier.sim.base.api_errors import ErrorReply

_MINUTE = 60.0


class TokenBuckets:
    """What every account has used of a model's tokens per minute. Times are the caller's."""

    def __init__(self) -> None:
        self._used: dict[tuple[str, str], tuple[float, float]] = {}

    def used(self, account: str, model: str, limit: int | None, now: float) -> float:
        """The tokens in use now; ``limit / 60`` of them come back each second."""
        if limit is None:
            return 0.0
        used, then = self._used.get((account, model), (0.0, now))
        return max(0.0, used - (now - then) * limit / _MINUTE)

    def take(self, account: str, model: str, limit: int | None, tokens: int, now: float) -> None:
        """Use tokens; a refused request uses none."""
        used = self.used(account, model, limit, now) + tokens
        self._used[account, model] = min(used, limit or 0), now


def over(model: str, limit: int | None, used: float, requested: int) -> ErrorReply | None:
    """The 429 for a request of that size; None: there is room for it, or no limit."""
    if limit is None or used + requested <= limit:
        return None
    if requested > limit:
        return api_errors.too_many_tokens(model, limit, requested)
    wait = (used + requested - limit) * _MINUTE / limit
    return api_errors.token_limited(model, limit, ceil(used), requested, wait)


def limit_headers(unit: str, limit: int | None, used: float) -> dict[str, str]:
    """The headers that state a limit of ``requests`` or ``tokens`` a minute; none without one."""
    if limit is None:
        return {}
    return {
        f"x-ratelimit-limit-{unit}": str(limit),
        f"x-ratelimit-remaining-{unit}": str(max(0, limit - ceil(used))),
        f"x-ratelimit-reset-{unit}": f"{ceil(used * _MINUTE * 1000 / limit)}ms",
    }
