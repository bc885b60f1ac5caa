"""What every lane is: a name, how it is asked for, and how it says no."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flextier.failures import Failure

JOURNAL = "journal"
"""What a report gives as the lane of a call whose answer was paid for before: nothing was sent."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a lane has to know of a call before it takes it."""

    endpoint: str
    """The path after the base URL, such as ``"/responses"``."""
    body: Mapping[str, Any]
    """The JSON body, without what is added for the lane."""
    streamed: bool = False
    """Whether an event stream was asked for."""
    extras: str = ""
    """What the call has besides its body, in words: headers, query parameters, a body to read by
    itself. Empty: nothing."""


@dataclass(frozen=True, slots=True)
class Lane:
    """A way to buy a call. A lane that says no in its own words overrides the two questions."""

    name: str
    """The name in ``FlexPolicy.lanes`` and in reports."""
    service_tier: str
    """The ``service_tier`` sent for it."""
    served_as: frozenset[str] = frozenset()
    """The tiers in an answer that mean this lane was billed, next to ``service_tier``."""
    timeout_field: str | None = "standard_timeout"
    """The field of ``FlexPolicy`` that limits an attempt on it; None: only the deadline does."""
    reserve_field: str = "standard_reserve"
    """The field of ``FlexPolicy`` that says how long before the deadline it is left."""
    window_field: str | None = None
    """The field of ``FlexPolicy`` that says how long calls are gathered before they are sent."""
    patient: bool = False
    """Whether refusals are worth waiting out, for as long as ``FlexPolicy.patience`` allows."""
    offline: bool = False
    """Whether the answer is fetched later, and not waited for on a connection."""

    def declines(self, asked: Asked) -> str:
        """Why the call cannot go this way, in words; empty: it can."""
        return ""

    def refuses(self, failure: Failure) -> bool:
        """Whether ``failure`` says that this lane has no capacity now."""
        return False

    def unsupported(self, failure: Failure) -> bool:
        """Whether ``failure`` says that this lane is not for this model, project or call."""
        return False

    def lasting(self, failure: Failure) -> bool:
        """Whether a lane that is :meth:`unsupported` is so for every call of the model."""
        return True
