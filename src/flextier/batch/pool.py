"""From a call to its ticket: into the next batch, or to the line that it has already."""

from __future__ import annotations

from typing import Any, Protocol

from flextier._sdk import dumps
from flextier.batch.desk import desk_of
from flextier.batch.terms import Terms
from flextier.batch.ticket import Kept, Ticket
from flextier.clock import Clock
from flextier.journal import Journal
from flextier.journal.entry import Entry, Place, Recorded
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


def pool(
    client: Any,
    where: tuple[str, str],
    asked: Asked,
    model: str,
    policy: FlexPolicy,
    clock: Clock,
    memory: Remembered | None,
    times: Times,
    request: Any,
) -> Ticket:
    """A ticket for the call.

    Args:
        client: what it was made with.
        where: base URL and account.
        asked: its endpoint and body.
        model: the model.
        policy: its knobs.
        clock: its clock.
        memory: its place in the journal.
        times: when it has to go on.
        request: for an error.

    Raises:
        BatchNotSent: its line cannot be written to the disk.
        JournalError: the journal cannot be used.
    """
    desk = desk_of(*where)
    knobs = policy if policy.deadline is None else policy.replace(deadline=None)
    journal = None if memory is None else memory.journal
    terms = Terms(where[0], f"/v1{asked.endpoint}", model, clock, knobs, journal)
    until = (times.withdraw_by, times.cut_by)
    if memory is None:
        return desk.put(client, terms, dumps(asked.body), None, *until, request)
    memory.refresh()
    if memory.answer is not None:
        ticket = Ticket("", memory.entry, clock, *until, None, desk.lock)
        ticket.settle(Kept(memory.answer))
        return ticket
    if memory.place is not None:
        return desk.attach(client, terms, memory.place, memory.entry, *until)
    return desk.put(client, terms, dumps(asked.body), memory.entry, *until, request)
