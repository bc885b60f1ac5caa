"""The result of a trace, of flextier's client or a baseline, checked against the provider."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from flextier.calls.report import CANCELLED, CallReport
from flextier.lanes import tier_lane
from flextier.policy import FlexPolicy
from flextier.pricing.decimals import optional_digits, total_if_known
from flextier.rehearsal.oracle import Clairvoyant
from flextier.rehearsal.provider import ProviderCounts
from flextier.rehearsal.trace import Trace, TraceJob

_TOLERANCE = 1e-6  # seconds by which an answer may exceed its deadline


@dataclass(frozen=True, slots=True)
class FinishedJob:
    """A finished job. Times are in seconds since the weather's clock started."""

    job: TraceJob
    at: float
    """When it ended."""
    error: str | None = None
    """The name of the exception that ended it; None: it was answered."""

    @property
    def seconds(self) -> float:
        """Duration of the call."""
        return self.at - self.job.arrives

    @property
    def overdue(self) -> float:
        """Seconds between the deadline and a late answer; else 0, also without an answer."""
        over = self.at - self.job.deadline
        return over if self.error is None and over > _TOLERANCE else 0.0


@dataclass(frozen=True, kw_only=True)
class TraceResult:
    """The result of a trace. Two are equal if everything but ``real_seconds`` is."""

    name: str
    """Name of the client that made the calls."""
    trace: Trace
    """The weather and the jobs."""
    ended: tuple[FinishedJob, ...]
    """The finished jobs, in order of arrival."""
    counts: ProviderCounts
    """Counts of the provider."""
    clairvoyant: Clairvoyant
    """Result of the oracle."""
    virtual_seconds: float
    """When the last job had ended."""
    real_seconds: float = field(compare=False)
    """Duration of the run by the wall clock."""

    @property
    def cost(self) -> float | None:
        """Relative cost of the answers: 1 with all on standard, 0.5 with all on flex.

        None: there are no answers.
        """
        # Relative to list prices; real prices are in `dollars`.
        prices = [float(tier_lane(tier).price.share or 1) for _, tier in self.counts.billed]
        return sum(prices) / len(prices) if prices else None

    @property
    def distance(self) -> float | None:
        """Relative difference of ``cost`` to the clairvoyant's: 0.05 is five per cent more."""
        return None if self.cost is None else self.cost / self.clairvoyant.cost - 1

    @property
    def answered(self) -> int:
        """Number of calls with an answer, late ones included."""
        return sum(one.error is None for one in self.ended)

    @property
    def failed(self) -> int:
        """Number of calls without an answer."""
        return len(self.ended) - self.answered

    @property
    def errors(self) -> Mapping[str, int]:
        """Number of failed calls by exception."""
        return Counter(one.error for one in self.ended if one.error is not None)

    @property
    def late(self) -> int:
        """Number of answers after their deadline."""
        return sum(one.overdue > 0 for one in self.ended)

    @property
    def latest(self) -> float:
        """Largest delay of an answer after its deadline, in seconds; 0: none was late."""
        return max(one.overdue for one in self.ended)

    @property
    def lanes(self) -> Mapping[str, int]:
        """Number of answers by the lane billed."""
        return {tier_lane(tier).name: n for tier, n in sorted(self.counts.served.items())}

    @property
    def refusals_an_answer(self) -> float | None:
        """Refusals of flex per answer on any lane; None: there are no answers."""
        return self.counts.refusals / self.answered if self.answered else None

    def seconds(self, share: float) -> float:
        """The quantile ``share`` (0 to 1) of the calls' durations."""
        return _quantile([one.seconds for one in self.ended], share)

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain JSON types."""
        return {
            "name": self.name,
            "trace": self.trace.name,
            "jobs": self.trace.jobs,
            "deadline": self.trace.deadline,
            "seed": self.trace.seed,
            "cost": self.cost,
            "clairvoyant": {"cost": self.clairvoyant.cost, "late": self.clairvoyant.late},
            "distance": self.distance,
            "answered": self.answered,
            "failed": self.failed,
            "errors": dict(self.errors),
            "late": self.late,
            "latest": self.latest,
            "lanes": dict(self.lanes),
            "requests": self.counts.requests,
            "refusals": self.counts.refusals,
            "refusals_an_answer": self.refusals_an_answer,
            "rate_limited": self.counts.rate_limited,
            "stalls": self.counts.stalls,
            "possibly_billed": self.counts.abandoned,
            "seconds": {
                "p50": self.seconds(0.5),
                "p95": self.seconds(0.95),
                "max": self.seconds(1),
            },
            "virtual_seconds": self.virtual_seconds,
            "real_seconds": self.real_seconds,
        }


@dataclass(frozen=True, kw_only=True)
class Rehearsal(TraceResult):
    """The result of flextier's client over a trace, under a policy."""

    policy: FlexPolicy
    """The policy, with the deadline in force."""
    reports: tuple[CallReport, ...] = field(compare=False, repr=False)
    """The report of each call, in the order in which they ended, in virtual time."""

    @property
    def dollars(self) -> Decimal | None:
        """US$ for all answers, at 1,200 input and 400 output tokens; None: a model has no price."""
        return total_if_known([report.cost.total for report in self.reports if report.served])

    @property
    def standard_dollars(self) -> Decimal | None:
        """The same on the standard lane."""
        return total_if_known([report.cost.standard for report in self.reports if report.served])

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain JSON types; money in plain digits."""
        return {
            **super().to_dict(),
            "dollars": optional_digits(self.dollars),
            "standard_dollars": optional_digits(self.standard_dollars),
            "policy": self.policy.model_dump(mode="json", exclude={"budget"}),
        }


def _quantile(values: Sequence[float], share: float) -> float:
    """The nearest rank: the smallest value that is at least this share of them."""
    rank = max(1, math.ceil(share * len(values) - _TOLERANCE))
    return sorted(values)[rank - 1]


class MiscountError(RuntimeError):
    """The client's reports and the provider's counts differ: a bug in flextier."""


def check(reports: Iterable[CallReport], counts: ProviderCounts) -> None:
    """Raise a ``MiscountError`` if the client's reports and the provider's counts differ."""
    calls = list(reports)
    outcomes = Counter(attempt.outcome for call in calls for attempt in call.attempts)
    served = Counter({tier_lane(tier).name: n for tier, n in counts.served.items()})
    pairs = {
        "requests": (outcomes.total(), counts.requests),
        "refusals": (outcomes["capacity"], counts.refusals),
        "rate limits": (outcomes["rate_limited"], counts.rate_limited),
        "abandoned": (outcomes["timeout"] + outcomes[CANCELLED], counts.abandoned),
        "served": (Counter(call.lane for call in calls if call.served), served),
    }
    differences = [
        f"{what}: {reported} and {counted}"
        for what, (reported, counted) in pairs.items()
        if reported != counted
    ]
    if differences:
        raise MiscountError(f"calls reported, and the provider counted, {'; '.join(differences)}")
