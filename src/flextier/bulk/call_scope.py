"""What a run sets for the calls of its rows: policy overrides, the budget."""

from __future__ import annotations

import os
import time
from contextvars import ContextVar
from decimal import Decimal

from flextier.bulk.options import RunOptions
from flextier.bulk.row import Row
from flextier.calls.budget import Spending
from flextier.calls.context import current_scope, earlier
from flextier.errors import BudgetExceeded
from flextier.policy import PREFIX, FlexPolicy
from flextier.variables import setting

ROW: ContextVar[Row | None] = ContextVar("flextier_bulk_row", default=None)
"""The row that the running code works on."""

NEAR_END = 10.0
"""Seconds before the run's end in which a background response is cancelled to keep it."""


class PolicyOverrides:
    """The overrides of the policies of a run's calls: lanes, journal, the end of the run."""

    def __init__(self, run_options: RunOptions) -> None:
        self.journal = os.path.realpath(run_options.state_dir / "journal.db")
        """Path of the run's journal."""
        scope, deadline = current_scope(), run_options.deadline
        changes = dict(scope.changes)
        if not changes.get("gateway", setting(f"{PREFIX}GATEWAY")):  # else the journal is its own
            changes["journal"] = self.journal
        if run_options.lanes is not None:
            changes["lanes"] = run_options.lanes
        FlexPolicy.check(changes)
        self._until = earlier(scope.until, None if deadline is None else time.time() + deadline)
        self.scope = {"changes": tuple(sorted(changes.items())), "until": self._until}
        """The fields of the calls' scope."""

    def is_over(self, margin: float = 0.0) -> bool:
        """Whether the run's end has passed, or comes within ``margin`` seconds."""
        return self._until is not None and time.time() >= self._until - margin


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
