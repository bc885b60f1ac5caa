"""Who waits for a lane, the most urgent first."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import count

from flextier.capacity.permit import Permit

_LEAST = 64


class WaitQueue:
    """Tickets by the moment they would leave the lane, and by their turn where that is the same.

    The places of those that have left stay in the heap until they come up, or are more than the
    others; the tickets themselves do not.
    """

    __slots__ = ("_heap", "_places", "_tickets")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, int]] = []
        self._places = count()
        self._tickets: dict[int, Permit] = {}

    def __len__(self) -> int:
        return len(self._tickets)

    def push(self, ticket: Permit) -> None:
        """Line up."""
        ticket.place = next(self._places)
        self._tickets[ticket.place] = ticket
        heapq.heappush(self._heap, (ticket.until, ticket.turn, ticket.place))

    def head(self) -> Permit | None:
        """The most urgent one, who stays in line."""
        while self._heap:
            ticket = self._tickets.get(self._heap[0][-1])
            if ticket is not None:
                return ticket
            heapq.heappop(self._heap)
        return None

    def leave(self, ticket: Permit) -> None:
        """One of them does not wait any more."""
        del self._tickets[ticket.place]
        if len(self._heap) > _LEAST and len(self._tickets) < len(self._heap) // 2:
            self._heap = [entry for entry in self._heap if entry[-1] in self._tickets]
            heapq.heapify(self._heap)

    def __iter__(self) -> Iterator[Permit]:
        """All of them, in no order."""
        return iter(self._tickets.values())
