"""Submits a call to the next batch, or attaches it to the batch line that it has already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from flextier._openai.compat import dumps
from flextier._utils.clock import Clock
from flextier.batch.future import BatchFuture, JournaledResult
from flextier.batch.group_key import GroupKey
from flextier.batch.manager import manager_of
from flextier.journal import Journal
from flextier.journal.records import BatchPlace, JournaledResponse, JournalEntry
from flextier.lanes import CallFacts
from flextier.policy import FlexPolicy


class JournaledCall(Protocol):
    """A call's journal entry."""

    journal: Journal
    entry: JournalEntry

    @property
    def answer(self) -> JournaledResponse | None:
        """The response, if the journal has it."""

    @property
    def place(self) -> BatchPlace | None:
        """The batch line of the call, if it has one."""

    def refresh(self) -> None:
        """Read the entry again."""


class CallTimes(Protocol):
    """The times at which a call's batch is cancelled, and its wait ends."""

    @property
    def cancel_at(self) -> float:
        """Time at which its batch is cancelled."""

    @property
    def attempt_ends_by(self) -> float:
        """Time at which the call stops waiting, cancelled or not."""


@dataclass(frozen=True, slots=True)
class BatchCall:
    """A call to be submitted as a batch line."""

    where: tuple[str, str]
    """Base URL and account."""
    asked: CallFacts
    policy: FlexPolicy
    clock: Clock
    memory: JournaledCall | None
    times: CallTimes
    least: int = 1
    """The fewest calls that make a batch, if more than the policy's ``batch_min_calls``."""


def pool(client: Any, call: BatchCall) -> BatchFuture:
    """A future for the call.

    Args:
        client: the client of the call.
        call: the request, its policy, journal entry and times.

    Raises:
        OSError: its line cannot be written to the disk.
        JournalError: the journal cannot be used.
    """
    manager, memory = manager_of(*call.where), call.memory
    policy = call.policy
    changes: dict[str, Any] = {} if policy.deadline is None else {"deadline": None}
    if call.least > policy.batch_min_calls:
        changes["batch_min_calls"] = call.least
    knobs = policy.replace(**changes)
    journal = None if memory is None else memory.journal
    endpoint = f"/v1{call.asked.endpoint}"
    model = str(call.asked.body.get("model", ""))
    terms = GroupKey(call.where[0], endpoint, model, call.clock, knobs, journal)
    until = (call.times.cancel_at, call.times.attempt_ends_by)
    if memory is None:
        return manager.put(client, terms, dumps(call.asked.body), None, *until)
    memory.refresh()
    if memory.answer is not None:
        future = BatchFuture("", memory.entry, call.clock, *until, None, manager.lock)
        future.settle(JournaledResult(memory.answer))
        return future
    if memory.place is not None:
        return manager.attach(client, terms, memory.place, memory.entry, *until)
    return manager.put(client, terms, dumps(call.asked.body), memory.entry, *until)
