"""What every lane has: a name, the request fields that select it, and how it refuses a call."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from flextier.lanes.failures import Failure
from flextier.lanes.price_rule import NO_PRICE, PriceRule

JOURNAL = "journal"
"""The lane in the report of a call that the journal answered: nothing was sent."""

RAW_BODY = "body that the caller reads"
"""In ``CallFacts.extras``: the caller reads the raw body of the response."""

Execution = Literal["direct", "batch", "background"]
"""How calls are made on a lane: as one request each, as lines of a batch, or as background
responses that are polled."""


@dataclass(frozen=True, slots=True)
class CallFacts:
    """The facts of a call that decide whether a lane can take it."""

    endpoint: str
    """The path after the base URL, such as ``"/responses"``."""
    body: Mapping[str, Any]
    """The JSON body, without what is added for the lane."""
    streamed: bool = False
    """Whether an event stream was asked for."""
    extras: str = ""
    """What the call has besides its body, in words: headers, query parameters, a raw response
    body. Empty: nothing."""


@dataclass(frozen=True, slots=True)
class Lane:
    """A way to send a call. Subclasses override what identifies their refusals."""

    name: str
    """The name in ``FlexPolicy.lanes`` and in reports."""
    service_tier: str
    """The ``service_tier`` sent for it."""
    served_as: frozenset[str] = frozenset()
    """Tiers in a response that mean this lane was billed, besides ``service_tier``."""
    timeout_field: str | None = "standard_timeout"
    """The field of ``FlexPolicy`` that limits an attempt on it; None: only the deadline does."""
    max_seconds: float = math.inf
    """Seconds that an attempt may take, where that field is None."""
    reserve_field: str | None = None
    """The field of ``FlexPolicy`` that says how long before the deadline it is left; None: as long
    as the next lane needs."""
    gather_field: str | None = None
    """The field of ``FlexPolicy`` that says how long calls are gathered before they are sent."""
    limited: bool = True
    """Whether calls wait for a permit of the limiter, and for as long as a rate limit says."""
    queues: bool = False
    """Whether refused calls queue for capacity, for as long as ``FlexPolicy.patience`` allows."""
    execution: Execution = "direct"
    """How a call is made on it."""
    min_calls: int = 1
    """The fewest calls worth grouping, whatever the policy says."""
    window: str | None = None
    """The completion window of background responses; None: it has none."""
    window_seconds: float = 0.0
    """Seconds within which the vendor aims to respond; 0: it states no target."""
    min_seconds: float = 0.0
    """The call begins on the lane only if more seconds than this are left for it."""
    registered_as: str = ""
    """Its key in the limiter registry, if that is not its name."""
    price: PriceRule = NO_PRICE
    """How it is priced."""
    family: str = ""
    """What ``FlexPolicy.lane_support`` and the report page call it, if that is not its name: lanes
    that a model has only together share one."""
    feature: str = ""
    """What a model has that supports it, in words, if that is not its family."""
    takes: str = ""
    """How long a response takes, in words."""
    colors: tuple[str, str] | None = None
    """Its colour on a light page and on a dark one; None: that of all lanes without one."""
    auto_min_deadline: float = 0.0
    """Seconds that the deadline must leave for ``lanes="auto"`` to use it."""
    fallback_variant: Lane | None = None
    """The lane of the same name for models that do not support this one."""

    deferred: bool = field(init=False, repr=False, compare=False)
    """Whether the response is collected later, without an open connection."""
    batched: bool = field(init=False, repr=False, compare=False)
    """Whether calls are grouped and sent as one request."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "family", self.family or self.name)
        object.__setattr__(self, "feature", self.feature or self.family)
        # Not properties: every call reads them several times.
        object.__setattr__(self, "deferred", self.execution != "direct")
        object.__setattr__(self, "batched", self.execution == "batch")

    @property
    def key(self) -> str:
        """Its key in the limiter registry."""
        return self.registered_as or self.name

    def serves(self, service_tier: str) -> bool:
        """Whether a response with that tier to a request on this lane was billed as this lane."""
        return self.batched or service_tier == self.service_tier or service_tier in self.served_as

    def alternative_for(self, failure: Failure) -> Lane | None:
        """The lane of the same name that may support a call after this failure; None: none."""
        if self.fallback_variant is None or self.fallback_variant.unsupported(failure):
            return None
        return self.fallback_variant

    def fields(self, run: str | None) -> dict[str, Any]:
        """The request fields that select the lane, besides the service tier; ``run`` is the id of
        the run that the call is a step of."""
        return {}

    def ineligible(self, facts: CallFacts) -> str:
        """Why the lane cannot take the call; empty if it can."""
        return ""

    def lacks(self, model: str) -> str | None:
        """Why a model has no such lane, by OpenAI's pages; empty: it has one, None: they say
        nothing, and the price list decides."""
        return None

    def for_auto(self) -> Lane | None:
        """The lane as ``lanes="auto"`` uses it; None: it does not."""
        return self

    def refuses(self, failure: Failure) -> bool:
        """Whether ``failure`` says that this lane has no capacity now."""
        return False

    def unsupported(self, failure: Failure) -> bool:
        """Whether ``failure`` says that this model, project or call cannot use the lane."""
        return False

    def unsupported_by_model(self, failure: Failure) -> bool:
        """Whether a failure that is :meth:`unsupported` applies to every call of the model."""
        return True
