"""The queue of a lane: waiting permits, the most urgent first."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import count

from flextier.capacity.permit import Permit

_LEAST = 64


class WaitQueue:
    """Permits by the moment they would leave the lane, and by their turn among equals.

    Heap entries of permits that left stay until they come to the top or are the majority; the
    permits themselves are dropped at once.
    """

    __slots__ = ("_heap", "_permits", "_places")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, int]] = []
        self._places = count()
        self._permits: dict[int, Permit] = {}

    def __len__(self) -> int:
        return len(self._permits)

    def push(self, permit: Permit) -> None:
        """Add a permit."""
        permit.place = next(self._places)
        self._permits[permit.place] = permit
        heapq.heappush(self._heap, (permit.until, permit.turn, permit.place))

    def head(self) -> Permit | None:
        """The most urgent permit, which stays in the queue; None if empty."""
        while self._heap:
            permit = self._permits.get(self._heap[0][-1])
            if permit is not None:
                return permit
            heapq.heappop(self._heap)
        return None

    def leave(self, permit: Permit) -> None:
        """Remove a permit."""
        del self._permits[permit.place]
        if len(self._heap) > _LEAST and len(self._permits) < len(self._heap) // 2:
            self._heap = [entry for entry in self._heap if entry[-1] in self._permits]
            heapq.heapify(self._heap)

    def __iter__(self) -> Iterator[Permit]:
        """All waiting permits, in no order."""
        return iter(self._permits.values())
