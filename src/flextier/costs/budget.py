"""budget(): a block whose calls may cost a limit, and the receipt of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

from flextier.calls.budget import Spending, load_prices, validated_limit
from flextier.calls.context import block, current_scope
from flextier.calls.report import CallReport
from flextier.costs.receipt import Receipt
from flextier.costs.totals import CostTotals


class BudgetSpending(Spending):
    """The US$ that the calls of a block have cost so far. Thread-safe."""

    def __init__(self, limit: Decimal) -> None:
        super().__init__()
        self.limit = limit
        """US$."""
        self.totals = CostTotals()
        """The costs of the calls, live."""

    def charge(self, report: CallReport) -> None:
        """Add the cost of a call."""
        super().charge(report)
        self.totals.add_report(report)

    def receipt(self) -> Receipt:
        """The receipt of the calls so far."""
        return Receipt(self.totals.copy(), budget=self.limit)


@contextmanager
def budget(limit: Decimal | int | float | str) -> Iterator[BudgetSpending]:
    """Make no new call inside once the calls inside have cost ``limit`` US$, in any framework.

    Checked before each call: calls in flight are finished, and their responses returned. Tasks
    and threads are covered as with :func:`flextier.track`; ``FlexPolicy.budget`` is for all calls
    of the process. Yields the block's spending.

    Args:
        limit: US$, more than 0.

    Raises:
        PolicyError: the limit is not a number above 0.

    Example::

        with budget(5) as spending:
            chain.batch(rows)
        print(spending.spent)
        print(spending.receipt())
    """
    spending = BudgetSpending(validated_limit(limit))
    load_prices()
    with block("budget", budgets=(*current_scope().budgets, (spending, spending.limit))):
        yield spending
