"""Estimates one lane's capacity: how many requests may be in flight on it at once.

Pure: no clock, no lock, no I/O. All moments are seconds on the callers' clock.

The lane is *open* until a run of refusals is too long to be random; from then on it is *held* at
the number of requests that it had admitted. Open: at most a *window* of requests may be
unresolved, neither admitted nor refused yet; each admission adds one to the window, so the rate
doubles every round. Held: a request that ends makes room for another, and now and then a probe is
sent above the limit; when a probe is admitted, the lane is open again. Where it was full before,
it is held again after fewer refusals; refusals within the limit lower it if they are not random.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import inf

from flextier.capacity.estimators import Latencies, RandomRefusals, RefusalTime
from flextier.capacity.permit import Permit, ProbeSpacing, Verdict
from flextier.capacity.refill_pace import RefillPace
from flextier.capacity.stalls import StallDetector

FIRST_WINDOW = 10
"""Requests that may be unresolved at first."""

_REOPENED = 2
_IDLE = 60.0
_UNUSED = 2.0
_OFTEN = 0.2
"""The share of random refusals above which a hold that the first probe ends was random, too."""
_MORE = 8
"""So many requests admitted beyond its limit: the lane is not full there any more."""
_SHUT, _HELD = (1 / 7, 5), (1 / 2, 3)
"""The interval between probes: a part of the time since the lane was held, and the initial
intervals that it may be until that is longer: else most probes of an outage would come then."""


@dataclass(slots=True, eq=False)
class SlotLimit:
    """The limit of a lane that refuses requests beyond it."""

    limit: int
    """Requests that it is known to accept at once; 0: none."""
    since: float
    next_probe: float
    window: float
    """The window before."""
    run: int = 0
    """Refusals in a row that led to it."""
    probes: int = 0
    """Probes that were refused."""
    refused: int = 0
    """Refusals within the limit, in a row."""


class LaneEstimator:
    """Estimates one lane of one model from what the limiter reports: requests sent and ended."""

    __slots__ = (
        "_beyond", "_full_at", "_last_sent", "answered", "chance", "confirmed", "durations",
        "hold", "in_flight", "name", "pause", "pending", "probing", "refill", "refused", "scarce",
        "shut_until", "silence", "stalled", "stalls", "unsettled", "window",
    )  # fmt: skip

    def __init__(self, name: str, scarce: bool) -> None:
        self.name = name
        self.scarce = scarce
        """Whether the lane may run out of capacity; others are never limited."""
        self.window = float(FIRST_WINDOW)
        self.hold: SlotLimit | None = None
        self.pending: deque[Permit] = deque()
        """Unresolved requests, and resolved ones behind them, in the order of sending."""
        self.in_flight = 0
        self.confirmed = 0
        self.probing = 0
        """Unresolved probes."""
        self.pause = 0.0
        """No request before this moment: one was just refused."""
        self.unsettled = 0
        """Refusals behind unresolved requests that were sent before them."""
        self.shut_until = 0.0
        """No request before this moment: the server's Retry-After."""
        self.silence = RefusalTime()
        self.chance = RandomRefusals()
        self.refill = RefillPace()
        self._full_at = inf
        """The fewest requests in flight at which it may be full, as it was before."""
        self._beyond = 0
        """Requests that it has admitted beyond that since it was held."""
        self.durations = Latencies()
        self.stalls = StallDetector(self.durations)
        self.answered = self.refused = self.stalled = 0
        self._last_sent = 0.0

    # --- may a request be sent? ---------------------------------------------------------------

    def may_send(self, now: float) -> bool:
        """Whether the lane would accept a request now, as far as is known."""
        if not self.scarce:
            return True
        if self.pending:
            self.settle(now)
        if self.unsettled or now < self.shut_until or now < self.pause:
            return False
        if now < self._last_sent + self.refill.interval:
            return False
        if self.hold is None or self.in_flight < self.hold.limit:
            return not self._full
        return not self.probing and now >= self.hold.next_probe

    def admit(self, permit: Permit, now: float) -> bool:
        """Record a request that is granted a permit, if the lane would accept it now."""
        if self.may_send(now):
            self.sent(permit, now)
            return True
        return False

    @property
    def _full(self) -> bool:
        """Whether the window is full of unresolved requests."""
        if self.hold is not None:  # it may have been shut: not all at once when all were answered
            return len(self.pending) >= max(_REOPENED, self.hold.limit / 4)
        # After refusals in a row, only as many as random refusals justify; where the lane was full
        # before, one after the other, then more and more.
        room, level = self.window, self.in_flight + 1
        if level >= self.chance.level:
            room *= self.chance.rate
        if level >= self._full_at:
            room = min(room, self._beyond / 2)
        return len(self.pending) >= max(1.0, room)

    def refuses(self, now: float) -> bool:
        """Whether the lane is known to have no capacity left."""
        return now < self.shut_until or self.hold is not None

    def next_chance(self, now: float) -> float:
        """The first moment at which :meth:`may_send` may become true by time alone."""
        certain = max(self.shut_until, self.pause, self._last_sent + self.refill.interval)
        if self.unsettled:
            return max(certain, self._resolved_at(self.pending[0]))
        known = self._resolved_at(self.pending[0]) if self.pending else certain
        if self.hold is None or self.in_flight < self.hold.limit:
            return max(certain, known) if self._full else certain
        return max(certain, known if self.probing else self.hold.next_probe)

    # --- what happens -------------------------------------------------------------------------

    def sent(self, permit: Permit, now: float) -> None:
        """Record a request that was granted a permit."""
        permit.sent_at = now
        permit.level = self.in_flight = self.in_flight + 1
        if not self.scarce:
            return
        if now - self._last_sent > _IDLE and self.hold is None:
            idle = 2 ** min((now - self._last_sent) / _IDLE, 64)
            self.window = max(self.window / idle, min(self.window, FIRST_WINDOW))
        self._last_sent = now
        if self.hold is not None and self.in_flight > self.hold.limit:
            permit.probe = True
            self.probing += 1
        self.pending.append(permit)

    def ended(
        self, permit: Permit, verdict: Verdict, now: float, spacing: ProbeSpacing, timed: bool
    ) -> None:
        """Record the end of a request; ``timed`` if its duration counts as a latency."""
        permit.verdict, permit.spacing = verdict, spacing
        self.in_flight -= 1
        if verdict == "served":
            self.answered += 1
            if timed:
                self.durations.last.append((permit.sent_at, now - permit.sent_at))
                self.durations.sorted = None
        elif verdict == "refused":
            self.refused += 1
        elif verdict == "stalled":
            self.stalled += 1
        if not self.scarce:
            return
        if self.stalls.silent or self.stalls.given_up_after:
            self.stalls.ended(permit, served=verdict == "served")
        if verdict == "refused":
            self.silence.add(now - permit.sent_at)
            self.unsettled += not permit.confirmed
        if permit.confirmed:
            self.confirmed -= 1
            if verdict == "refused":  # the refusal came late
                self._refused(permit, now)
        self.settle(now)

    def stalls_in(
        self, permit: Permit, now: float, factor: float, until: float, waiting: bool
    ) -> float:
        """Seconds until a silent request should be checked again; 0: it has stalled.

        See :meth:`StallDetector.stalls_in`; ``waiting``: whether calls wait for the lane.
        """
        if self.pending:
            self.settle(now)
        hold = self.hold
        full = waiting and hold is not None and self.in_flight >= hold.limit
        return self.stalls.stalls_in(permit, now, factor, until, full)

    def shut(self, until: float, now: float) -> None:
        """Shut the lane until a moment that the server named."""
        self.shut_until = max(self.shut_until, until)
        self._hold(0, now).next_probe = self.shut_until

    def drop(self, confirmed: bool) -> None:
        """Stop counting a request whose permit was dropped without an end."""
        self.in_flight -= 1
        self.confirmed -= confirmed

    # --- what it means ------------------------------------------------------------------------

    def settle(self, now: float) -> None:
        """Resolve requests in the order of sending, up to the first unresolved one.

        In that order random refusals lie between admissions, though they arrive long before them.
        """
        pending = self.pending
        # A window that is not used does not show what the lane would accept.
        used = 2 * len(pending) >= self.window
        while pending:
            permit = pending[0]
            if not permit.verdict and now < self._resolved_at(permit):
                return
            pending.popleft()
            if permit.verdict == "refused":
                self.unsettled -= 1
                self._refused(permit, now)
            elif permit.verdict == "served" or (permit.begun and not permit.verdict):
                self._admitted(permit, now, used)
            else:
                self._unused(permit)
            if permit.probe:  # the probe is resolved, however the request ends
                permit.probe = False
                self.probing -= 1

    def _resolved_at(self, permit: Permit) -> float:
        """When a request is resolved, at the latest."""
        if permit.verdict:
            return permit.sent_at
        return permit.sent_at + (self.silence.silence if permit.begun else _UNUSED)

    def _unused(self, permit: Permit) -> None:
        if not permit.verdict:  # granted but not used in time: taken back
            permit.granted = False
            self.in_flight -= 1

    def _refused(self, permit: Permit, now: float) -> None:
        hold, spacing, silence = self.hold, permit.spacing, self.silence.silence
        if not (hold is not None and hold.limit and permit.probe):  # else it is full
            self.refill.refused(permit.sent_at)
        if hold is not None and permit.probe:
            hold.probes += 1
            hold.next_probe = self._next_probe(hold, spacing, now)
            return
        self.pause = max(self.pause, now + silence * (0.5 + 0.5 * spacing.jitter))
        if hold is not None and permit.sent_at < hold.since:
            return
        chance = self.chance
        chance.refused(permit.level)
        expected = hold is not None or permit.level >= self._full_at
        if chance.explains(chance.run, expected and not self.refill.interval):
            return
        if hold is None:
            if self.confirmed:
                self._full_at = chance.level
            hold = self._hold(self.confirmed, now)
        else:
            hold.refused += 1
            hold.limit = min(hold.limit, self.confirmed) if hold.refused == 1 else 0
            hold.since, hold.probes = now, 0
            chance.clear_run()
        hold.next_probe = self._next_probe(hold, spacing, now)

    def _admitted(self, permit: Permit, now: float, used: bool) -> None:
        if not permit.verdict:
            permit.confirmed = True
            self.confirmed += 1
        if self.refused:
            self.refill.admitted(permit.sent_at)
        self.stalls.last_admitted = max(self.stalls.last_admitted, permit.sent_at)
        if permit.level >= self._full_at:
            self._beyond += 1
            self._full_at = permit.level + 1 if self._beyond < _MORE else inf
        hold = self.hold
        if permit.probe and hold is not None:
            self.hold = None
            # At the first probe, the refusals may have been random after all.
            self.chance.were_random(0 if hold.probes else hold.run)
            rate = self.chance.rate
            self.window = max(_REOPENED, hold.window * rate)
            if rate > _OFTEN and not hold.probes:
                self._full_at = inf
            return
        if self.chance.run:
            self.chance.admitted(permit.level)
        else:
            self.chance.uncounted += 1
        if hold is None:
            self.window += used
        elif permit.sent_at < hold.since:
            hold.limit = max(hold.limit, self.confirmed) if self.shut_until <= now else 0
        else:
            hold.refused = 0

    def _next_probe(self, hold: SlotLimit, spacing: ProbeSpacing, now: float) -> float:
        """When the next probe is due."""
        share, first = _HELD if hold.limit else _SHUT
        share *= now - hold.since
        return now + spacing.seconds(hold.probes, share, self.silence.silence, first)

    def _hold(self, limit: int, now: float) -> SlotLimit:
        self._beyond = 0
        self.hold = SlotLimit(limit, now, now, self.window, self.chance.run)
        self.chance.clear_run()
        return self.hold
