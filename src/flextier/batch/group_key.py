"""What the calls of one batch have in common."""

from __future__ import annotations

from dataclasses import dataclass

from flextier._utils.clock import Clock
from flextier.journal import Journal
from flextier.lanes import BATCH
from flextier.policy import FlexPolicy


@dataclass(frozen=True, slots=True)
class GroupKey:
    """The endpoint, model, policy and journal that all calls of one batch share."""

    base_url: str
    endpoint: str
    """With ``/v1``, as the Batch API requires."""
    model: str
    clock: Clock
    policy: FlexPolicy
    """Without its deadline: a batch may have calls with several deadlines."""
    journal: Journal | None

    @property
    def least(self) -> int:
        """The fewest calls that make a batch: one, if there is no lane after batch."""
        return 1 if self.policy.lanes[-1] == BATCH.name else self.policy.batch_min_calls

    @property
    def poll(self) -> float:
        """The most seconds between two polls."""
        return self.policy.batch_poll_interval

    def backoff(self, tries: int) -> float:
        """Seconds to wait after ``tries`` failed attempts."""
        return self.clock.random() * self.policy.backoff(tries)
