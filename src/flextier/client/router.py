"""Router: what the calls of a client share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flextier._utils.clock import Clock
from flextier.calls.budget import load_prices
from flextier.capacity import LimiterRegistry
from flextier.errors import ClientClosedError
from flextier.policy import FlexPolicy
from flextier.routing.plan import PlanCache
from flextier.routing.policy_in_force import PolicyInForce, policy_in_force
from flextier.routing.timeout_args import ClientArguments


@dataclass(slots=True, eq=False)
class Router:
    """What the calls of a client share: the policy, the clock, the lanes' state."""

    given: FlexPolicy
    """The policy without the client's ``timeout``."""
    clock: Clock
    capacity: LimiterRegistry
    arguments: ClientArguments
    policy: FlexPolicy = field(init=False)
    """The client's policy."""
    unchanged: PolicyInForce = field(init=False)
    """That of a call where nothing overrides the client's."""
    plans: PlanCache = field(init=False)
    url: Any = None
    """The base URL of the last call, and as text."""
    url_text: str = ""

    def __post_init__(self) -> None:
        self.policy = self.arguments.timeout.apply_to(self.given)
        self.unchanged = policy_in_force(self.given, self.arguments.timeout)
        self.plans = PlanCache(self.capacity, self.clock)
        if self.policy.budget is not None:
            load_prices()


def client_closed(client: Any) -> ClientClosedError:
    """The error for a client that was closed, possibly while the call waited."""
    return ClientClosedError(
        f"this {type(client).__name__} (or the http_client it was given) has been closed: "
        "create a new one, or keep its `with` block open while calls run"
    )
