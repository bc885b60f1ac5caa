"""From a call to its ticket: into the next batch, or to the line that it has already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from flextier._openai.compat import dumps
from flextier._utils.clock import Clock
from flextier.batch.future import Kept, Ticket
from flextier.batch.group_key import Terms
from flextier.batch.manager import desk_of
from flextier.journal import Journal
from flextier.journal.records import Entry, Place, Recorded
from flextier.lanes import Asked
from flextier.policy import FlexPolicy


class Remembered(Protocol):
    """A call's place in the journal."""

    journal: Journal
    entry: Entry

    @property
    def answer(self) -> Recorded | None:
        """The answer, if it is there."""

    @property
    def place(self) -> Place | None:
        """The line of a batch that the call is in."""

    def refresh(self) -> None:
        """How it stands now."""


class Times(Protocol):
    """When a call has to go on."""

    @property
    def withdraw_by(self) -> float:
        """When its batch is to be cancelled."""

    @property
    def cut_by(self) -> float:
        """When it does not wait any more, whatever has become of that."""


@dataclass(frozen=True, slots=True)
class Asking:
    """A call that is to be a line of a batch."""

    where: tuple[str, str]
    """Base URL and account."""
    asked: Asked
    policy: FlexPolicy
    clock: Clock
    memory: Remembered | None
    times: Times
    least: int = 1
    """The fewest calls that are worth a file, if the policy is content with fewer."""


def pool(client: Any, call: Asking) -> Ticket:
    """A ticket for the call.

    Args:
        client: what it was made with.
        call: what it is.

    Raises:
        OSError: its line cannot be written to the disk.
        JournalError: the journal cannot be used.
    """
    desk, memory = desk_of(*call.where), call.memory
    policy = call.policy
    changes: dict[str, Any] = {} if policy.deadline is None else {"deadline": None}
    if call.least > policy.batch_min_calls:
        changes["batch_min_calls"] = call.least
    knobs = policy.replace(**changes)
    journal = None if memory is None else memory.journal
    endpoint = f"/v1{call.asked.endpoint}"
    model = str(call.asked.body.get("model", ""))
    terms = Terms(call.where[0], endpoint, model, call.clock, knobs, journal)
    until = (call.times.withdraw_by, call.times.cut_by)
    if memory is None:
        return desk.put(client, terms, dumps(call.asked.body), None, *until)
    memory.refresh()
    if memory.answer is not None:
        ticket = Ticket("", memory.entry, call.clock, *until, None, desk.lock)
        ticket.settle(Kept(memory.answer))
        return ticket
    if memory.place is not None:
        return desk.attach(client, terms, memory.place, memory.entry, *until)
    return desk.put(client, terms, dumps(call.asked.body), memory.entry, *until)
