"""What every lane is: a name, the tier it is asked for by, and how it says no."""

from __future__ import annotations

from dataclasses import dataclass

from flextier.failures import Failure


@dataclass(frozen=True, slots=True)
class Lane:
    """A way to buy a call. A lane that says no in its own words overrides the two questions."""

    name: str
    """The name in ``FlexPolicy.lanes`` and in reports."""
    service_tier: str
    """The ``service_tier`` sent for it."""
    served_as: frozenset[str] = frozenset()
    """The tiers in an answer that mean this lane was billed, next to ``service_tier``."""
    timeout_field: str = "standard_timeout"
    """The field of ``FlexPolicy`` that limits an attempt on it."""
    patient: bool = False
    """Whether refusals are worth waiting out, for as long as ``FlexPolicy.patience`` allows."""

    def refuses(self, failure: Failure) -> bool:
        """Whether ``failure`` says that this lane has no capacity now."""
        return False

    def unsupported(self, failure: Failure) -> bool:
        """Whether ``failure`` says that this lane is not for this model or project."""
        return False
