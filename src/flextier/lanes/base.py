"""What every lane is: a name, how it is asked for, and how it says no."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from flextier.lanes.failures import Failure

JOURNAL = "journal"
"""What a report gives as the lane of a call whose answer was paid for before: nothing was sent."""


RAW_BODY = "body that the caller reads"
"""Among a call's extras: what it gets is read by the caller, and by nobody before."""

Window = Literal["soonest", "2h", "8h"]
"""What the Responses API calls a completion window."""


@dataclass(frozen=True, slots=True)
class CallFacts:
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
    max_seconds: float = math.inf
    """Seconds that an attempt may take, where that field is None."""
    reserve_field: str | None = None
    """The field of ``FlexPolicy`` that says how long before the deadline it is left; None: as long
    as the next lane needs."""
    gather_field: str | None = None
    """The field of ``FlexPolicy`` that says how long calls are gathered before they are sent."""
    patient: bool = False
    """Whether refusals are worth waiting out, for as long as ``FlexPolicy.patience`` allows."""
    batched: bool = False
    """Whether calls are gathered, sent together, and answered together."""
    min_calls: int = 1
    """The fewest calls that are worth sending together, whatever the policy says."""
    window: Window | None = None
    """The completion window of background responses; None: it has none."""
    min_seconds: float = 0.0
    """Seconds before it is to be left that are too few to begin on it."""
    registered_as: str = ""
    """What the process remembers it by, where that is not its name."""
    fallback_variant: Lane | None = None
    """The lane of the same name that takes the calls of models that this one is not for."""

    deferred: bool = field(init=False, repr=False, compare=False)
    """Whether the answer is fetched later, and not waited for on a connection."""

    def __post_init__(self) -> None:
        # Not a property: every call asks for it several times.
        object.__setattr__(self, "deferred", self.batched or self.window is not None)

    @property
    def key(self) -> str:
        """What the process remembers it by."""
        return self.registered_as or self.name

    def serves(self, service_tier: str) -> bool:
        """Whether an answer of that tier was billed on this lane, if it was asked for here."""
        return self.batched or service_tier == self.service_tier or service_tier in self.served_as

    def alternative_for(self, failure: Failure) -> Lane | None:
        """The lane of the same name that may take a call which is not for this one; None: none."""
        if self.fallback_variant is None or self.fallback_variant.unsupported(failure):
            return None
        return self.fallback_variant

    def fields(self, run: str | None) -> dict[str, Any]:
        """What the body has for it, besides the service tier.

        Args:
            run: a name of the run that the call is a step of; None: of none.
        """
        return {}

    def ineligible(self, asked: CallFacts) -> str:
        """Why the call cannot go this way, in words; empty: it can."""
        return ""

    def refuses(self, failure: Failure) -> bool:
        """Whether ``failure`` says that this lane has no capacity now."""
        return False

    def unsupported(self, failure: Failure) -> bool:
        """Whether ``failure`` says that this lane is not for this model, project or call."""
        return False

    def unsupported_by_model(self, failure: Failure) -> bool:
        """Whether a lane that is :meth:`unsupported` is so for every call of the model."""
        return True
