"""Budgets: no new call once the calls before have cost too much."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from threading import RLock
from typing import TYPE_CHECKING

from flextier._utils.safe_warn import safe_warn
from flextier.calls.context import Scope, current_scope, scoped
from flextier.errors import BudgetExceeded, PolicyError
from flextier.pricing.decimals import added

if TYPE_CHECKING:
    from flextier.calls.report import CallReport


class Spending:
    """US$ that calls have cost so far. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = RLock()  # the garbage collector may end a call in the midst
        self._warned: set[str] = set()
        self.reset()

    def reset(self) -> None:
        """Begin at nothing again."""
        with self._lock:
            self.spent = Decimal(0)
            self.unpriced_calls = 0

    def charge(self, report: CallReport) -> None:
        """Count what a call cost.

        One whose cost is not known counts as a call, not as money: a warning says so once for each
        model.
        """
        cost = report.cost
        with self._lock:
            if cost.total is not None:
                self.spent = added(self.spent, cost.total)
                return
            if report.usage is None and not report.served:
                return  # nothing is known to have been billed
            self.unpriced_calls += 1
            warned = cost.model in self._warned
            self._warned.add(cost.model)
        if not warned:
            hint = "" if report.usage is None else ". Rates of your own: flextier.costs.PriceBook"
            safe_warn(f"a call of {cost.model!r} is in no budget: {cost.reason}{hint}")

    def check(self, limit: Decimal, knob: str) -> None:
        """Raise if the limit is reached.

        Raises:
            BudgetExceeded: it is; the message names the knob.
        """
        if self.spent >= limit:
            raise BudgetExceeded(
                f"${self.spent:f} of ${limit:f} is spent: no new call is made. Raise {knob}",
                spent=self.spent,
                limit=limit,
            )


PROCESS = Spending()
"""What the calls of this process under a policy with a ``budget`` have cost."""


@contextmanager
def budget(limit: Decimal | int | float | str) -> Iterator[Spending]:
    """Make no new call inside once the calls inside have cost ``limit`` US$, in any framework.

    Checked before each call: calls in flight are finished, and their answers handed over. Tasks
    and threads are covered as with :func:`flextier.track`. The block's spending is yielded.

    Args:
        limit: US$, more than 0.

    Raises:
        PolicyError: the limit is no amount above 0.

    Example::

        with budget(5) as spending:
            chain.batch(rows)
        print(spending.spent)
    """
    spending = Spending()
    limited = (spending, _amount(limit))
    load_prices()
    with scoped(budgets=(*current_scope().budgets, limited)):
        yield spending


def load_prices() -> None:
    """Load what calls are priced by: not in the midst of the first one that counts in a budget."""
    from flextier.pricing.best_effort import (
        warm,  # here: `import flextier` does not load the price list
    )

    warm()


def _amount(limit: Decimal | int | float | str) -> Decimal:
    try:
        amount = Decimal(str(limit))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount <= 0:
        raise PolicyError(f"budget({limit!r}): US$ above 0; to make no call at all, make none")
    return amount


def budgets_in_force(
    policy_budget: Decimal | None, scope: Scope
) -> tuple[tuple[Spending, Decimal, str], ...]:
    """The spendings that a call counts in, with their limits and knobs."""
    inside = tuple((spending, limit, "budget(…)") for spending, limit in scope.budgets)
    if policy_budget is None:
        return inside
    return ((PROCESS, policy_budget, "FlexPolicy.budget (FLEXTIER_BUDGET)"), *inside)
