"""Summary: the figures of a report on a ledger, independent of the output format."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from flextier.costs.records import CallRecord
from flextier.costs.sums import Sums
from flextier.ledger.sessions import Session
from flextier.report.period import Period

WAITS = (0.0, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)
"""Upper bounds of the histogram of waits, in seconds; one more class is for longer waits."""

HOURS = 24


@dataclass(frozen=True, slots=True)
class TimeBucket:
    """The calls that began in one bar of a chart."""

    label: str
    start: datetime
    """Local time of the period's zone."""
    end: datetime
    """The last bar ends when the period does."""
    sums: Sums
    calls_by_lane: dict[str, int]
    """Answered calls by the lane billed."""


@dataclass(frozen=True, slots=True)
class FlexAttempts:
    """Attempts on the flex lane that were refused or served, by the hour when their calls began."""

    refused: int = 0
    served: int = 0

    @property
    def total(self) -> int:
        return self.refused + self.served

    @property
    def refused_share(self) -> float | None:
        """Refused attempts divided by all. None: there are none."""
        return self.refused / self.total if self.total else None

    def plus(self, other: FlexAttempts) -> FlexAttempts:
        return FlexAttempts(self.refused + other.refused, self.served + other.served)


@dataclass(frozen=True, slots=True)
class WaitTimes:
    """How long calls waited between attempts."""

    counts: tuple[int, ...] = (0,) * (len(WAITS) + 1)
    """Number of calls in each class of ``WAITS``, and of those that waited longer."""
    median: float | None = None
    ninth_decile: float | None = None
    longest: float | None = None

    @property
    def calls(self) -> int:
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class Fallbacks:
    """The answered calls that fell back for one reason."""

    reason: str
    calls: int
    premium: Decimal
    """US$ that they cost more than on their first lane, where that is known."""
    unknown: int
    """Number of calls with an unknown premium."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of a report."""

    ledger: str
    """Its address, without a password."""
    period: Period
    created: datetime
    first: datetime | None
    """When the first call began, in the period's zone."""
    last: datetime | None
    total: Sums
    by_model: dict[str, Sums] = field(default_factory=dict)
    by_lane: dict[str, Sums] = field(default_factory=dict)
    by_tag: dict[str, Sums] = field(default_factory=dict)
    by_day: dict[str, Sums] = field(default_factory=dict)
    buckets: tuple[TimeBucket, ...] = ()
    flex_attempts: tuple[tuple[FlexAttempts, ...], ...] = ((FlexAttempts(),) * HOURS,) * 7
    """By weekday, Monday first, and hour of the day."""
    waits: WaitTimes = WaitTimes()
    fallbacks: tuple[Fallbacks, ...] = ()
    estimates: dict[str, int] = field(default_factory=dict)
    """Number of answered calls by the reason why their cost is an estimate, the most first."""
    slowest: tuple[CallRecord, ...] = ()
    dearest: tuple[CallRecord, ...] = ()
    incomplete: tuple[Session, ...] = ()
    """Sessions of the period that have not closed the ledger, or lost records."""

    @property
    def records(self) -> int:
        """Number of calls, answered or not."""
        return self.total.calls + self.total.failed_calls

    @property
    def flex_attempts_by_hour(self) -> tuple[FlexAttempts, ...]:
        """By hour of the day, for all weekdays together."""
        hours = [FlexAttempts()] * HOURS
        for day in self.flex_attempts:
            hours = [one.plus(other) for one, other in zip(hours, day, strict=True)]
        return tuple(hours)
