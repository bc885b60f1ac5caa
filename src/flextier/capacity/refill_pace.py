"""The interval between requests on a lane that admits them at a rate, whatever is in flight.

Pure: no clock, no lock, no I/O. All moments are seconds on the callers' clock.
"""

from __future__ import annotations

from math import inf

_ENOUGH = 8.0
"""Refusals that came sooner after an admission than usual: then the lane follows a rate."""
_SOON, _LATE = 0.5, 1.2
"""Parts of the usual time between admissions."""
_CONTRADICTS, _CONFIRMS = 0.5, 0.2

_LEAST_WEIGHT = 0.1
_FASTER, _SLOWER, _LONGEST = 0.97, 1.25, 1.5
_SHORTEST = 0.05
_OUTAGE = 8
"""After this multiple of the usual interval without an admission, the lane was shut."""


class RefillPace:
    """No interval until refusals depend on the time since the last admission.

    A lane that follows a rate refuses what comes soon after an admission, and admits what comes
    later. Where refusals are random, or slots are full, that time makes no difference: soon after
    one, requests are admitted, too, and late ones are refused.

    Then the interval is a little shorter after each admission, and longer after each refusal. It is
    dropped if more are refused nevertheless than the time explains.
    """

    __slots__ = (
        "_enough", "_evidence", "_last", "_refused", "_usual", "_weight", "interval",
    )  # fmt: skip

    def __init__(self) -> None:
        self.interval = 0.0
        """Seconds from one request to the next; 0: no rate is known."""
        self._usual, self._weight = 0.0, 1.0
        self._evidence, self._enough = 0.0, _ENOUGH
        self._refused = False
        self._last = inf

    def admitted(self, sent_at: float) -> None:
        """Record an admission, in the order of sending."""
        since, self._last, self._refused = max(0.0, sent_at - self._last), sent_at, False
        if self.interval:
            self._evidence = min(self._evidence + _CONFIRMS, _ENOUGH)
            self.interval *= _FASTER
            if self.interval < _SHORTEST or since > _OUTAGE * self.interval:
                self.interval = self._evidence = 0.0
        elif since < _SOON * self._usual:
            self._evidence = max(0.0, self._evidence - _CONTRADICTS)
        if self._weight > _LEAST_WEIGHT:
            self._weight = max(_LEAST_WEIGHT, self._weight / (1 + self._weight))
        else:
            since = min(since, _OUTAGE * max(self._usual, _SHORTEST))
        self._usual += self._weight * (since - self._usual)

    def refused(self, sent_at: float) -> None:
        """Record a refusal, in the order of sending."""
        since, again, self._refused = max(0.0, sent_at - self._last), self._refused, True
        if self.interval:
            self._evidence -= 1
            self.interval = min(self.interval * _SLOWER, _LONGEST * self._usual)
            if self._evidence < 0:
                self._enough *= 2
                self.interval = self._evidence = 0.0
        elif since >= _LATE * self._usual:
            self._evidence = 0.0
        elif since < _SOON * self._usual and not again:
            self._evidence += 1
            if self._evidence >= self._enough:
                self.interval, self._evidence = self._usual, _ENOUGH
