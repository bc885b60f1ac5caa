"""What a run sets for the calls of its rows: policy overrides, the budget, the cost listener."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextvars import ContextVar
from decimal import Decimal
from typing import Any

from flextier.bulk.options import RunOptions
from flextier.bulk.row import Row
from flextier.calls.budget import Spending
from flextier.calls.context import current_scope
from flextier.calls.report import CallReport
from flextier.costs.records import record_of
from flextier.costs.totals import CostTotals
from flextier.errors import BudgetExceeded
from flextier.policy import FlexPolicy

Changes = tuple[tuple[str, Any], ...]

ROW: ContextVar[Row | None] = ContextVar("flextier_bulk_row", default=None)
"""The row that the running code works on."""

_STEPS = 100
"""Steps in which the remaining time is updated. Calls of one step share a policy."""
_RESERVE_FITS = 300.0
"""Seconds. With less time left, the reserve for the next lane is reduced to fit."""


class PolicyOverrides:
    """The overrides of the policies of a run's calls: lanes, journal, the remaining deadline.

    Args:
        run_options: the run's options.
        clock: seconds.
    """

    def __init__(self, run_options: RunOptions, clock: Callable[[], float]) -> None:
        self.journal = os.path.realpath(run_options.state_dir / "journal.db")
        """Path of the run's journal."""
        self._fixed = {**dict(current_scope().changes), "journal": self.journal}
        if run_options.lanes is not None:
            self._fixed["lanes"] = run_options.lanes
        deadline = run_options.deadline
        self._clock = clock
        self._ends_at = None if deadline is None else clock() + deadline
        self._deadline = deadline or 0.0
        self._reserve = FlexPolicy().standard_reserve if deadline is not None else 0.0
        self._current: Changes = tuple(sorted(self._fixed.items()))
        self._update_at = 0.0
        FlexPolicy.check(dict(self.changes()))

    def is_over(self) -> bool:
        """Whether the deadline has passed."""
        return self._ends_at is not None and self._clock() >= self._ends_at

    def is_nearly_over(self) -> bool:
        """Whether a call that ran out of time did so because of the run's deadline."""
        if self._ends_at is None:
            return False
        return self._clock() >= self._ends_at - self._deadline / _STEPS - 1.0

    def changes(self) -> Changes:
        """The overrides for calls that begin now; their deadline is never after the run's."""
        if self._ends_at is None or (now := self._clock()) < self._update_at:
            return self._current
        left = max(self._ends_at - now, 0.001)
        step = min(left / _STEPS, 1.0)
        self._update_at = now + step
        overrides = {**self._fixed, "deadline": left - step}
        if left < _RESERVE_FITS:
            overrides["standard_reserve"] = min(self._reserve, left / 2)
        self._current = tuple(sorted(overrides.items()))
        return self._current


class RunBudget(Spending):
    """The spending under the run's budget; marks the row whose call was refused."""

    def check(self, limit: Decimal, knob: str) -> None:
        """Raise if the limit is reached."""
        try:
            super().check(limit, knob)
        except BudgetExceeded:
            if (row := ROW.get()) is not None:
                row.hit_budget = True
            raise


class RunCosts:
    """Counts the costs of a run's calls, in total and by row.

    Args:
        totals: those of earlier starts.
    """

    def __init__(self, totals: CostTotals) -> None:
        self.totals = totals

    def on_report(self, report: CallReport) -> None:
        """Count a call, and add its record to its row."""
        record = record_of(report)
        self.totals.add(record)
        if (row := ROW.get()) is not None:
            row.records.append(record)
