"""What the calls of one batch have in common."""

from __future__ import annotations

from dataclasses import dataclass

from flextier._utils.clock import Clock
from flextier.journal import Journal
from flextier.lanes import BATCH
from flextier.policy import FlexPolicy


@dataclass(frozen=True, slots=True)
class GroupKey:
    """One model and endpoint a file, and the knobs that it is handled by."""

    base_url: str
    endpoint: str
    """With ``/v1``, as the Batch API wants it."""
    model: str
    clock: Clock
    policy: FlexPolicy
    """Without its deadline: calls of several deadlines may go together."""
    journal: Journal | None

    @property
    def least(self) -> int:
        """The fewest calls that are worth a file: one, where there is no other lane for them."""
        return 1 if self.policy.lanes[-1] == BATCH.name else self.policy.batch_min_calls

    @property
    def poll(self) -> float:
        """The most seconds between two looks."""
        return self.policy.batch_poll_interval

    def backoff(self, tries: int) -> float:
        """Seconds of backoff after the given number of failed attempts."""
        return self.clock.random() * self.policy.backoff(tries)
