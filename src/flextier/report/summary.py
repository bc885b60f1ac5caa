"""Summary: the figures of a report on a ledger, before it is written in any format."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone, tzinfo
from decimal import Decimal

from flextier.costs.totals import Sums
from flextier.ledger.sessions import Session

WAITS = (0.0, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)
"""Upper ends of the classes of waits, in seconds: none at all, up to one second, up to five, and so
on. What is longer than the last is a class, too."""

HOURS = 24
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True, slots=True)
class Period:
    """From when until when, and whose hours."""

    since: datetime | None
    """None: from the first record on."""
    until: datetime | None
    """Not itself inside. None: up to the last record."""
    zone: tzinfo
    """Whose days and hours are meant."""
    zone_name: str

    def local(self, at: datetime) -> datetime:
        """The time there, as a clock on the wall shows it: without a zone.

        Where there it is before the year 1 or after 9999, the time in UTC.
        """
        try:
            return at.astimezone(self.zone).replace(tzinfo=None)
        except OverflowError:
            return at.astimezone(timezone.utc).replace(tzinfo=None)


@dataclass(frozen=True, slots=True)
class TimeBucket:
    """What the calls that began in a stretch of time came to."""

    start: datetime
    """On the wall clock of the period's zone."""
    end: datetime
    sums: Sums
    calls_by_lane: dict[str, int]
    """Answered calls by the lane billed."""


@dataclass(frozen=True, slots=True)
class HourlyAttempts:
    """How the flex lane met the calls of an hour."""

    refused: int = 0
    """Attempts that were refused."""
    served: int = 0
    """Calls that it answered."""

    @property
    def all(self) -> int:
        return self.refused + self.served

    @property
    def share(self) -> float | None:
        """Of the tries, those refused. None: there were none."""
        return self.refused / self.all if self.all else None

    def plus(self, other: HourlyAttempts) -> HourlyAttempts:
        return HourlyAttempts(self.refused + other.refused, self.served + other.served)


@dataclass(frozen=True, slots=True)
class WaitTimes:
    """How long calls waited between attempts."""

    counts: tuple[int, ...] = (0,) * (len(WAITS) + 1)
    """Calls in each class of ``WAITS``, and those that waited longer than the last."""
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
    """US$ that they cost above the lanes that they were meant for, where that is known."""
    unknown: int
    """Calls for which it is not known."""


@dataclass(frozen=True, slots=True)
class NotableCall:
    """A call worth showing."""

    call_id: str
    at: datetime
    """On the wall clock of the period's zone."""
    model: str
    lane: str
    tags: tuple[str, ...]
    answered: bool
    basis: str
    cost: Decimal | None
    waited: float
    elapsed: float
    refusals: int


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of a report."""

    ledger: str
    """Its address, without a password."""
    period: Period
    made: datetime
    first: datetime | None
    """When the first of the calls began."""
    last: datetime | None
    total: Sums
    by_model: dict[str, Sums] = field(default_factory=dict)
    by_lane: dict[str, Sums] = field(default_factory=dict)
    by_tag: dict[str, Sums] = field(default_factory=dict)
    by_day: dict[str, Sums] = field(default_factory=dict)
    slots: tuple[TimeBucket, ...] = ()
    tries: tuple[tuple[HourlyAttempts, ...], ...] = ((HourlyAttempts(),) * HOURS,) * len(WEEKDAYS)
    """By weekday, Monday first, and hour of the day."""
    waits: WaitTimes = WaitTimes()
    fallbacks: tuple[Fallbacks, ...] = ()
    slowest: tuple[NotableCall, ...] = ()
    dearest: tuple[NotableCall, ...] = ()
    troubled: tuple[Session, ...] = ()
    """Processes that wrote in the period and have not closed the ledger, or lost records."""

    @property
    def records(self) -> int:
        """Calls on record, answered or not."""
        return self.total.calls + self.total.failed_calls

    @property
    def tries_by_hour(self) -> tuple[HourlyAttempts, ...]:
        """By hour of the day, whatever the weekday."""
        hours = [HourlyAttempts()] * HOURS
        for day in self.tries:
            hours = [one.plus(other) for one, other in zip(hours, day, strict=True)]
        return tuple(hours)
