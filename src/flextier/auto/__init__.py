"""``lanes="auto"``: lanes chosen by model and deadline, and why (``explain``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flextier._utils.lazy import lazy_getattr

if TYPE_CHECKING:
    from flextier.auto.explanation import explain as explain
    from flextier.planning.auto_plan import Considered as Considered
    from flextier.planning.auto_plan import Plan as Plan

__all__ = ["Considered", "Plan", "explain"]

# Loaded when first used.
_HOMES = {
    "Considered": "flextier.planning.auto_plan",
    "Plan": "flextier.planning.auto_plan",
    "explain": "flextier.auto.explanation",
}

__getattr__ = lazy_getattr(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
