"""How long a file is kept, as requests say it."""

from __future__ import annotations

from typing import Any

from flextier.sim.base import api_errors
from flextier.sim.base.api_errors import Rejected

# Limits of the API reference: an hour and 30 days.
SHORTEST_LIFE, LONGEST_LIFE = 3_600, 2_592_000


def read_lifetime(name: str, given: Any) -> int | None:
    """Seconds that a file is kept, from ``{"anchor": "created_at", "seconds": 3600}``.

    Raises:
        Rejected: The API would answer 400.
    """
    if given is None:
        return None
    if not isinstance(given, dict):
        raise Rejected(api_errors.wrong_type(name, "an object", given))
    if given.get("anchor") != "created_at":
        raise Rejected(
            api_errors.unsupported(f"{name}.anchor", given.get("anchor"), ("created_at",))
        )
    seconds: Any = given.get("seconds")
    whole = isinstance(seconds, int) and not isinstance(seconds, bool)
    if not whole or not SHORTEST_LIFE <= seconds <= LONGEST_LIFE:
        problem = f"expected an integer from {SHORTEST_LIFE} to {LONGEST_LIFE}."
        raise Rejected(api_errors.invalid(f"{name}.seconds", problem))
    return int(seconds)
