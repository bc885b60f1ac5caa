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
from flextier.pricing.decimals import plain_digits, total
from flextier.rehearsal.oracle import Clairvoyant
from flextier.rehearsal.provider import ProviderCounts
from flextier.rehearsal.trace import Trace, TraceJob

_INSTANT = 1e-6  # an answer is late from then on


@dataclass(frozen=True, slots=True)
class FinishedJob:
    """A job that has ended. Times are in seconds since the weather's clock started."""

    job: TraceJob
    at: float
    """When."""
    error: str | None = None
    """The name of the exception that ended it; None: it was answered."""

    @property
    def seconds(self) -> float:
        """How long the call took."""
        return self.at - self.job.arrives

    @property
    def overdue(self) -> float:
        """Seconds by which an answer came late; 0 for one in time, and for none."""
        over = self.at - self.job.deadline
        return over if self.error is None and over > _INSTANT else 0.0


@dataclass(frozen=True, kw_only=True)
class TraceResult:
    """What came of the calls of a trace. Equal where all happened in the same way."""

    name: str
    """Who made them."""
    trace: Trace
    """The weather and the jobs."""
    ended: tuple[FinishedJob, ...]
    """Each job, in order of arrival."""
    counts: ProviderCounts
    """What the provider saw."""
    clairvoyant: Clairvoyant
    """What the oracle reaches."""
    virtual_seconds: float
    """When the last job had ended."""
    real_seconds: float = field(compare=False)
    """How long the run took by the clock on the wall."""

    @property
    def cost(self) -> float | None:
        """What was billed, by what as many answers of standard cost: 1; 0.5 with all on flex.

        None: nothing was answered.
        """
        # The vendor's shares; real prices are in `dollars`.
        prices = [float(tier_lane(tier).price_share or 1) for _, tier in self.counts.billed]
        return sum(prices) / len(prices) if prices else None

    @property
    def distance(self) -> float | None:
        """How much more that is than the clairvoyant's cost: 0.05 is five per cent."""
        return None if self.cost is None else self.cost / self.clairvoyant.cost - 1

    @property
    def answered(self) -> int:
        """Calls with an answer, late ones included."""
        return sum(one.error is None for one in self.ended)

    @property
    def failed(self) -> int:
        """Calls without one."""
        return len(self.ended) - self.answered

    @property
    def errors(self) -> Mapping[str, int]:
        """How often each exception ended a call."""
        return Counter(one.error for one in self.ended if one.error is not None)

    @property
    def late(self) -> int:
        """Answers after their deadline."""
        return sum(one.overdue > 0 for one in self.ended)

    @property
    def latest(self) -> float:
        """Seconds by which the latest answer was late; 0: none was."""
        return max(one.overdue for one in self.ended)

    @property
    def lanes(self) -> Mapping[str, int]:
        """Answers by the lane that was billed."""
        return {tier_lane(tier).name: n for tier, n in sorted(self.counts.served.items())}

    @property
    def refusals_an_answer(self) -> float | None:
        """Refusals of flex for each answer, of any lane; None: nothing was answered."""
        return self.counts.refusals / self.answered if self.answered else None

    def seconds(self, share: float) -> float:
        """How long a call took, so that ``share`` of all calls (0 to 1) took no longer."""
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
    """What came of a trace with flextier's client, under a policy."""

    policy: FlexPolicy
    """The knobs, the deadline included."""
    reports: tuple[CallReport, ...] = field(compare=False, repr=False)
    """The report of each call, in the order in which they ended; times are virtual."""

    @property
    def dollars(self) -> Decimal | None:
        """US$ for the answers, at 1,200 tokens in and 400 out each; None: a model has no price."""
        return _sum([report.cost.total for report in self.reports if report.served])

    @property
    def standard_dollars(self) -> Decimal | None:
        """The same at standard's price."""
        return _sum([report.cost.standard for report in self.reports if report.served])

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain JSON types; money in plain digits."""
        return {
            **super().to_dict(),
            "dollars": _digits(self.dollars),
            "standard_dollars": _digits(self.standard_dollars),
            "policy": self.policy.model_dump(mode="json", exclude={"budget"}),
        }


def _quantile(values: Sequence[float], share: float) -> float:
    """The nearest rank: the smallest value that is at least this share of them."""
    rank = max(1, math.ceil(share * len(values) - _INSTANT))
    return sorted(values)[rank - 1]


def _sum(amounts: Sequence[Decimal | None]) -> Decimal | None:
    known = [amount for amount in amounts if amount is not None]
    return total(known) if len(known) == len(amounts) else None


def _digits(amount: Decimal | None) -> str | None:
    return None if amount is None else plain_digits(amount)


class MiscountError(RuntimeError):
    """The client's reports and the provider's counts differ: a bug in flextier."""


def check(reports: Iterable[CallReport], counts: ProviderCounts) -> None:
    """Compare the two accounts of a rehearsal.

    Raises:
        MiscountError: They differ; the message says in what.
    """
    calls = list(reports)
    outcomes = Counter(attempt.outcome for call in calls for attempt in call.attempts)
    served = Counter({tier_lane(tier).name: n for tier, n in counts.served.items()})
    pairs = {
        "requests": (outcomes.total(), counts.requests),
        "refusals": (outcomes["capacity"], counts.refusals),
        "rate limits": (outcomes["rate_limited"], counts.rate_limited),
        "given up": (outcomes["timeout"] + outcomes[CANCELLED], counts.abandoned),
        "served": (Counter(call.lane for call in calls if call.served), served),
    }
    wrong = [
        f"{what}: {ours} and {theirs}" for what, (ours, theirs) in pairs.items() if ours != theirs
    ]
    if wrong:
        raise MiscountError(f"calls reported, and the provider counted, {'; '.join(wrong)}")
