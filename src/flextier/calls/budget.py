"""Budgets: no new call once the calls before have cost the limit."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from threading import RLock
from typing import TYPE_CHECKING

from flextier._utils.safe_warn import safe_warn
from flextier.calls.context import Scope
from flextier.errors import BudgetExceeded, PolicyError
from flextier.pricing.decimals import added

if TYPE_CHECKING:
    from flextier.calls.report import CallReport


class Spending:
    """The US$ that calls have cost so far. Thread-safe."""

    def __init__(self, knob: str = "budget(…)") -> None:
        self.knob = knob
        """What sets its limit, as an error names it."""
        self._lock = RLock()  # the garbage collector may end a call while the lock is held
        self._warned: set[str] = set()
        self.reset()

    def reset(self) -> None:
        """Start again at 0."""
        with self._lock:
            self.spent = Decimal(0)
            self.unpriced_calls = 0

    def charge(self, report: CallReport) -> None:
        """Add the cost of a call.

        A call of unknown cost is counted in ``unpriced_calls`` only, with one warning a model.
        """
        cost = report.cost
        with self._lock:
            if cost.total is not None:
                self.spent = added(self.spent, cost.total)
                return
            if report.usage is None and not report.served:
                return  # nothing is known to be billed
            self.unpriced_calls += 1
            warned = cost.model in self._warned
            self._warned.add(cost.model)
        if not warned:
            hint = "" if report.usage is None else ". Set its rates: flextier.costs.PriceBook"
            safe_warn(
                f"cost of a call to {cost.model!r} is unknown, so it is not counted against the "
                f"budget: {cost.reason}{hint}"
            )

    def check(self, limit: Decimal, knob: str) -> None:
        """Raise if the spending has reached the limit.

        Raises:
            BudgetExceeded: it has; the message names the knob.
        """
        if self.spent >= limit:
            raise BudgetExceeded(
                f"${self.spent:f} of ${limit:f} is spent: no new call is made. Raise {knob}",
                spent=self.spent,
                limit=limit,
            )


PROCESS = Spending()
"""The spending of all calls of this process under a policy with a ``budget``."""


def load_prices() -> None:
    """Load the price list now, and not at the end of the first call."""
    from flextier.pricing.price_book import (
        load_price_list,  # here: `import flextier` does not load the price list
    )

    load_price_list()


def validated_limit(limit: Decimal | int | float | str) -> Decimal:
    """A limit in US$.

    Raises:
        PolicyError: it is not a number above 0.
    """
    try:
        amount = Decimal(str(limit))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount <= 0:
        raise PolicyError(f"budget({limit!r}): must be a number of US$ above 0")
    return amount


def budgets_in_force(
    policy_budget: Decimal | None, scope: Scope
) -> tuple[tuple[Spending, Decimal, str], ...]:
    """The spendings that a call is charged to, each with its limit and knob."""
    blocks = tuple((spending, limit, spending.knob) for spending, limit in scope.budgets)
    if policy_budget is None:
        return blocks
    return ((PROCESS, policy_budget, "FlexPolicy.budget (FLEXTIER_BUDGET)"), *blocks)
