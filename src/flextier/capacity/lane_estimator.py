"""What was learnt of one lane's capacity, and whether it would take another request now.

Pure: no clock, no lock, no I/O. All moments are seconds on the callers' clock.

The lane is *open* until refusals that chance does not explain come in a row; from then on it is
*held* at the number of requests that it had let in. Open: as many requests may be out without
their fate known as were let in lately (the window); each one that gets in adds one, so the stream
doubles every round. Held: a request that ends makes room for one, and now and then a probe goes
out above the limit; when one gets in, the lane is open again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from flextier.capacity.estimators import RandomRefusals, RefusalTime
from flextier.capacity.latencies import Latencies
from flextier.capacity.permit import Permit, ProbeSpacing, Verdict

FIRST_WINDOW = 10
"""Requests that may be out before anything is known of the lane."""

_REOPENED = 2
_IDLE = 60.0
_UNUSED = 2.0
_TOGETHER, _STALL_LEAST, _LOOK = 0.1, 5.0, 0.5
_SHARE_SHUT, _SHARE_HELD = 1 / 6, 1 / 3


@dataclass(slots=True)
class SlotLimit:
    """A lane that refuses what goes beyond a limit."""

    limit: int
    """Requests that it is known to take at once; 0: none."""
    since: float
    next_probe: float
    window: float
    """The window before."""
    probes: int = 0
    """Probes that were refused."""
    refused: int = 0
    """Refusals within the limit, in a row."""


class LaneEstimator:
    """One lane of one model. The limiter tells it what is sent and what comes of it."""

    __slots__ = (
        "_last_sent", "answered", "chance", "confirmed", "durations", "hold", "in_flight", "name",
        "pause", "pending", "probing", "refused", "scarce", "shut_until", "silence", "stalled",
        "unsettled", "window",
    )  # fmt: skip

    def __init__(self, name: str, scarce: bool) -> None:
        self.name = name
        self.scarce = scarce
        """Whether the lane may have no capacity; one that always has is not held back."""
        self.window = float(FIRST_WINDOW)
        self.hold: SlotLimit | None = None
        self.pending: deque[Permit] = deque()
        """Requests whose fate is not known, or that wait for those sent before them."""
        self.in_flight = 0
        self.confirmed = 0
        self.probing = 0
        """Probes whose fate is not known."""
        self.pause = 0.0
        """No request before this moment: one was refused just now."""
        self.unsettled = 0
        """Refusals that wait for the fate of requests sent before them."""
        self.shut_until = 0.0
        """No request before this moment: the server said so."""
        self.silence = RefusalTime()
        self.chance = RandomRefusals()
        self.durations = Latencies()
        self.answered = self.refused = self.stalled = 0
        self._last_sent = 0.0

    # --- may one be sent? ---------------------------------------------------------------------

    def may_send(self, now: float) -> bool:
        """Whether the lane would take a request now, as far as is known."""
        if not self.scarce:
            return True
        if self.pending:
            self.settle(now)
        if self.unsettled or now < self.shut_until or now < self.pause:
            return False
        if self.hold is None:
            return not self._full
        if self.in_flight < self.hold.limit:
            return True
        return not self.probing and now >= self.hold.next_probe

    @property
    def _full(self) -> bool:
        """Whether as many requests are out as may be without their fate known."""
        # Where refusals came in a row just now: only as many as would be right by chance.
        share = self.chance.rate if self.in_flight + 1 >= self.chance.level else 1.0
        return len(self.pending) >= max(1.0, self.window * share)

    def refuses(self, now: float) -> bool:
        """Whether the lane is known to have no capacity left."""
        return now < self.shut_until or self.hold is not None

    def next_chance(self, now: float) -> float:
        """The first moment at which :meth:`may_send` may be true without anything happening."""
        certain = max(self.shut_until, self.pause)
        if self.unsettled:
            return max(certain, self._known_at(self.pending[0]))
        known = self._known_at(self.pending[0]) if self.pending else certain
        if self.hold is None:
            return max(certain, known) if self._full else certain
        if self.in_flight < self.hold.limit:
            return certain
        return max(certain, known if self.probing else self.hold.next_probe)

    # --- what happens -------------------------------------------------------------------------

    def sent(self, permit: Permit, now: float) -> None:
        """A request was let out."""
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
        """The request came to an end; ``timed`` if its length tells how long answers take."""
        permit.verdict, permit.spacing = verdict, spacing
        self.in_flight -= 1
        if verdict == "served":
            self.answered += 1
            if timed:
                self.durations.add(permit.sent_at, now - permit.sent_at)
        elif verdict == "refused":
            self.refused += 1
        elif verdict == "stalled":
            self.stalled += 1
        if not self.scarce:
            return
        if verdict == "refused":
            self.silence.add(now - permit.sent_at)
            self.unsettled += not permit.confirmed
        if permit.confirmed:
            self.confirmed -= 1
            if verdict == "refused":  # it came later than refusals do
                self._refused(permit, now)
        self.settle(now)

    def stalls_in(self, permit: Permit, now: float, factor: float) -> float:
        """Seconds until a request that is silent should be looked at again; 0: it has stalled.

        It has, if it has been silent for ``factor`` times as long as the longest of the answers to
        those sent with it or after it: a lane that has become slow is slow to those as well.
        """
        silent = now - permit.sent_at
        longest = self.durations.longest_since(permit.sent_at - _TOGETHER)
        if longest is None:
            return max(_STALL_LEAST - silent, silent / 4, _LOOK)
        left = max(longest * factor, _STALL_LEAST) - silent
        return max(left, _LOOK) if left > 0 else 0.0

    def shut(self, until: float, now: float) -> None:
        """The server said when to come back."""
        self.shut_until = max(self.shut_until, until)
        self._hold(0, now, self.shut_until)

    def drop(self, confirmed: bool) -> None:
        """A request that was let out was lost sight of."""
        self.in_flight -= 1
        self.confirmed -= confirmed

    # --- what it means ------------------------------------------------------------------------

    def settle(self, now: float) -> None:
        """Learn from requests in the order of sending, as far as their fate is known.

        In that order refusals by chance lie between admissions, though they come back long before.
        """
        pending = self.pending
        # A window that is not used says nothing of what the lane would take.
        used = 2 * len(pending) >= self.window
        while pending:
            permit = pending[0]
            if not permit.verdict and now < self._known_at(permit):
                return
            pending.popleft()
            if permit.verdict == "refused":
                self.unsettled -= 1
                self._refused(permit, now)
            elif permit.verdict == "served" or (permit.begun and not permit.verdict):
                self._let_in(permit, now, used)
            else:
                self._tells_nothing(permit)
            if permit.probe:  # it has told, whatever comes of it later
                permit.probe = False
                self.probing -= 1

    def _known_at(self, permit: Permit) -> float:
        """When the fate of a request is known at the latest."""
        if permit.verdict:
            return permit.sent_at
        return permit.sent_at + (self.silence.silence if permit.begun else _UNUSED)

    def _tells_nothing(self, permit: Permit) -> None:
        if not permit.verdict:  # granted, but whoever waited has not come for it: taken back
            permit.granted = False
            self.in_flight -= 1

    def _refused(self, permit: Permit, now: float) -> None:
        hold, spacing, silence = self.hold, permit.spacing, self.silence.silence
        if hold is not None and permit.probe:
            hold.probes += 1
            share = (_SHARE_HELD if hold.limit else _SHARE_SHUT) * (now - hold.since)
            hold.next_probe = now + spacing.seconds(hold.probes, share, silence)
            return
        self.pause = max(self.pause, now + silence * (0.5 + 0.5 * spacing.jitter))
        if hold is None:
            self.chance.refused(permit.level)
            if not self.chance.explains_run:
                self._hold(self.confirmed, now, now + spacing.seconds(0, 0.0, silence))
        elif permit.sent_at >= hold.since:
            hold.refused += 1
            hold.limit = min(hold.limit, self.confirmed) if hold.refused == 1 else 0
            hold.since, hold.probes = now, 0
            hold.next_probe = now + spacing.seconds(0, 0.0, silence)

    def _let_in(self, permit: Permit, now: float, used: bool) -> None:
        if not permit.verdict:
            permit.confirmed = True
            self.confirmed += 1
        hold = self.hold
        if hold is None:
            self.chance.let_in(permit.level)
            self.window += used
        elif permit.probe:
            self.hold = None
            self.window = max(_REOPENED, hold.window * self.chance.rate)
            if hold.probes:  # else it may have been chance after all
                self.chance.clear_run()
            self.chance.let_in(permit.level)
        elif permit.sent_at < hold.since:
            hold.limit = max(hold.limit, self.confirmed) if self.shut_until <= now else 0
        else:
            hold.refused = 0

    def _hold(self, limit: int, now: float, next_probe: float) -> None:
        self.hold = SlotLimit(limit, now, next_probe, self.window)
