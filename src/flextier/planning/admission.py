"""A call's turn: what it asks of the gate of its model, and tells it, from attempt to attempt."""

from __future__ import annotations

import math
from collections.abc import Callable

from flextier.capacity import Limiter, Permit, ProbeSpacing
from flextier.planning.fallback import REFUSED_FOR, FailedAttempt, Ladder
from flextier.policy import FlexPolicy


class Admission:
    """One call's place at the gate. Not shared; the gate is."""

    __slots__ = ("_gate", "_ladder", "_policy", "_stall_factor", "_ticket")

    def __init__(self, gate: Limiter, ladder: Ladder, policy: FlexPolicy) -> None:
        self._gate = gate
        self._ladder = ladder
        self._policy = policy
        self._stall_factor = 0.0 if policy.deadline is None else policy.stall_factor
        self._ticket: Permit | None = None

    @property
    def granted(self) -> bool:
        """Whether the next attempt may be sent, or has been."""
        return self._ticket is not None and self._ticket.granted

    @property
    def open(self) -> bool:
        """Whether the gate has yet to hear what came of it."""
        return self._ticket is not None and not self._ticket.verdict

    def ask(self, now: float) -> bool:
        """Ask for leave to send on the ladder's lane; on the same lane, the call keeps its turn."""
        ladder, before = self._ladder, self._ticket
        if ladder.lane.pooled:  # where many calls are one request, and nobody stands in line
            self.over(now)
            self._ticket = None
            return True
        gauge = self._gate.lane(ladder.lane.name, ladder.lane.patient)
        turn = before.turn if before is not None and before.gauge is gauge else None
        self._ticket = self._gate.ask(gauge, now, ladder.until, ladder.latest, turn, ladder.next_by)
        return self._ticket.granted

    def look(self, now: float, wake: Callable[[], None]) -> float:
        """Seconds to wait, or until woken, before looking again; 0: no more (see ``granted``)."""
        assert self._ticket is not None
        return self._gate.look(self._ticket, now, wake)

    def begin(self, now: float) -> None:
        """The attempt goes out, on whatever lane the call has come to meanwhile."""
        if self._ticket is None or self._ticket.gauge.name != self._ladder.lane.name:
            self.over(now)
            self.ask(now)
        self._gate.begin(self._ticket, now)

    def over(self, now: float) -> None:
        """There is nothing more to wait for, or the attempt told nothing of its lane."""
        if self._ticket is not None:
            self._gate.end(self._ticket, "gone", now)

    def served(self, now: float, *, timed: bool = False) -> None:
        """The attempt was answered; ``timed`` if it took what answers of its lane take."""
        self._gate.end(self._ticket, "served", now, timed=timed)

    def failed(self, event: FailedAttempt) -> None:
        """The attempt failed, in a way that may tell of the lane."""
        if self._ticket is None:
            return
        if event.kind == "rate_limited":
            self._gate.limited(event.now, event.hint or 0.0)
        if event.kind != "capacity":
            stalled = event.kind == "timeout"
            self._gate.end(self._ticket, "stalled" if stalled else "gone", event.now)
            return
        if event.hint is not None or event.go_away:
            wait = REFUSED_FOR if event.hint is None else event.hint
            self._gate.shut(self._ticket.gauge, event.now + wait, event.now)
        policy = self._policy
        spacing = ProbeSpacing(
            policy.backoff_initial, policy.backoff_multiplier, policy.backoff_max, event.jitter
        )
        self._gate.end(self._ticket, "refused", event.now, spacing)

    def opens_in(self, now: float) -> float:
        """Seconds until an attempt may be let in on the ladder's lane, at the soonest."""
        lane = self._ladder.lane
        if lane.pooled:
            return 0.0
        return self._gate.opens_in(self._gate.lane(lane.name, lane.patient), now)

    @property
    def may_stall(self) -> bool:
        """Whether the attempt begun is to be watched by :meth:`stalls_in`."""
        lane = self._ladder.lane
        return self._stall_factor > 0 and lane.patient and not lane.offline

    def stalls_in(self, now: float) -> float:
        """Seconds until a silent attempt should be looked at again; 0: it is to be given up.

        Infinity: there is no time left on the lane for another. Each time, twice the silence is
        borne, as the one before may have been cut off in vain.
        """
        if self._ticket is None or now >= self._ladder.latest:
            return math.inf
        seconds = self._gate.stalls_in(self._ticket, now, self._stall_factor)
        if seconds <= 0:
            self._stall_factor *= 2
        return seconds
