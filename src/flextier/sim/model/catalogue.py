"""The models endpoint: a few names; the simulator answers to any."""

from __future__ import annotations

from typing import Any

from flextier.sim.base import api_errors
from flextier.sim.base.api_errors import Rejected

NAMES = (
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-4.1",
    "o3",
    "o4-mini",
    "gpt-5",
    "gpt-5-mini",
    "gpt-5-nano",
    "gpt-5.6",
    "gpt-6.2",
    "text-embedding-3-small",
    "text-embedding-3-large",
)
_CREATED = 1_744_761_600  # 16 April 2025


def describe(name: str) -> dict[str, Any]:
    """A ``model`` object.

    Raises:
        Rejected: The model is not listed.
    """
    if name not in NAMES:
        raise Rejected(api_errors.no_such("model", name))
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "flextier-simulator"}


def catalogue() -> dict[str, Any]:
    """The list of every model."""
    return {"object": "list", "data": [describe(name) for name in NAMES]}
