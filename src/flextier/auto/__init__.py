"""``lanes="auto"``: which lanes a call is tried on follows from its model and its deadline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flextier._lazy import lazily

if TYPE_CHECKING:
    from flextier.auto.explaining import explain as explain
    from flextier.auto.plan import Considered as Considered
    from flextier.auto.plan import Plan as Plan

__all__ = ["Considered", "Plan", "explain"]

# Loaded when first used: a policy only reads offers.
_HOMES = {"Considered": "plan", "Plan": "plan", "explain": "explaining"}

__getattr__ = lazily(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
