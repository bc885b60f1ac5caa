"""The queue of scripted faults, filled by the tester and emptied by requests."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from flextier.sim.behavior.faults import Fault, FaultConditions


class FaultQueue:
    """Faults waiting for their requests, first come first served. Usable from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._faults: list[Fault] = []

    def add(self, *faults: Fault) -> None:
        """Append faults, in order."""
        with self._lock:
            self._faults.extend(faults)

    def take(self, lane: str, model: str, path: str, stream: bool) -> Fault | None:
        """The first fault for such a request, removed; None: let the weather decide."""
        return self._take(lambda conditions: conditions.accept(lane, model, path, stream))

    def take_other(self, method: str, path: str, route: str) -> Fault | None:
        """The first fault for a request that asks for no answer, removed; None: there is none."""
        return self._take(lambda conditions: conditions.accept_other(method, path, route))

    def _take(self, accepts: Callable[[FaultConditions], bool]) -> Fault | None:
        if not self._faults:
            return None
        with self._lock:
            for position, fault in enumerate(self._faults):
                if accepts(fault.conditions):
                    return self._faults.pop(position)
        return None

    def clear(self) -> None:
        """Forget every fault."""
        with self._lock:
            self._faults.clear()

    def __len__(self) -> int:
        return len(self._faults)
