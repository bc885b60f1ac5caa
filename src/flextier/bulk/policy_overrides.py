"""Policy changes for the calls of a row: lanes, the journal, what is left of the deadline."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flextier.calls.context import current_scope
from flextier.policy import FlexPolicy

Changes = tuple[tuple[str, Any], ...]

_STEPS = 100
"""Steps in which the remaining time is passed on. Calls of one step share a policy."""
_RESERVE_IS_SAFE = 300.0
"""Seconds. With less left than this, the reserve for the next lane is reduced to fit."""


class PolicyOverrides:
    """The changes to the policies of a run's calls.

    Args:
        lanes: the ladder. None: that of the client.
        journal: where the calls' journal is.
        deadline: seconds for the whole run. None: none.
        clock: seconds.
    """

    def __init__(
        self,
        lanes: tuple[str, ...] | None,
        journal: Path,
        deadline: float | None,
        clock: Callable[[], float],
    ) -> None:
        fixed = dict(current_scope().changes)
        if lanes is not None:
            fixed["lanes"] = lanes
        self.journal = os.path.realpath(journal)
        """Where the calls' journal is."""
        fixed["journal"] = self.journal
        self._fixed = fixed
        self._clock = clock
        self._ends = None if deadline is None else clock() + deadline
        self._length = deadline or 0.0
        self._reserve = FlexPolicy().standard_reserve if deadline is not None else 0.0
        self._overrides: Changes = tuple(sorted(fixed.items()))
        self._again = 0.0
        FlexPolicy.check(dict(self.changes()))

    def is_over(self) -> bool:
        """Whether the deadline has passed."""
        return self._ends is not None and self._clock() >= self._ends

    def is_nearly_over(self) -> bool:
        """Whether a call that ran out of time did so for the run's deadline."""
        return self._ends is not None and self._clock() >= self._ends - self._length / _STEPS - 1.0

    def changes(self) -> Changes:
        """The changes for calls that begin now. Never more time than is left."""
        if self._ends is None or (now := self._clock()) < self._again:
            return self._overrides
        left = max(self._ends - now, 0.001)
        step = min(left / _STEPS, 1.0)
        self._again = now + step
        overrides = {**self._fixed, "deadline": left - step}
        if left < _RESERVE_IS_SAFE:
            overrides["standard_reserve"] = min(self._reserve, left / 2)
        self._overrides = tuple(sorted(overrides.items()))
        return self._overrides
