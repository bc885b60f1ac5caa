"""CallRecord: what one model call cost and went through, as handlers count it and ledgers keep it.

No prompt and no answer: names, times, tokens and money only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

from flextier.calls.report import Attempt, CallReport
from flextier.pricing.cost import Cost
from flextier.pricing.decimals import difference, plain_digits, total
from flextier.pricing.price_book import cost_or_unpriced
from flextier.pricing.usage import Usage

REFUSED = "capacity"


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One model call, answered or not."""

    call_id: str
    """A name for the call, unique to it."""
    at: datetime
    """When it began, UTC."""
    framework: str
    """``"langchain"``, ``"llama-index"`` or ``"openai"``."""
    model: str
    """The model asked for."""
    served_model: str | None
    """The model as the answer names it."""
    lane: str
    """The lane that was billed; for a call without an answer, that of its last attempt."""
    first_lane: str
    """The lane that it was meant for."""
    answered: bool
    """Whether there was an answer."""
    usage: Usage | None
    """The tokens billed. None: the response does not report them, or there was none."""
    cost: Cost
    """What they cost; unpriced where that is not known."""
    premium: Decimal | None = None
    """After a fallback, US$ that the answer cost above the lane it was meant for. None: there was
    no fallback, or one of the prices is not known."""
    possibly_billed: Decimal | None = None
    """US$ at most for attempts that the provider may have billed although no answer came of them.
    None: there were none, or their bound is not known."""
    fallback: str | None = None
    """Why it was not billed on its first lane."""
    attempts: tuple[Attempt, ...] = ()
    """Every request on the wire, where flextier made them."""
    waited: float = 0.0
    """Seconds between attempts."""
    elapsed: float = 0.0
    """Seconds from the call to its end."""
    error: str | None = None
    """The name of the exception that ended it."""
    run_id: str | None = None
    """The framework's id of the call's own run or span."""
    parent_run_id: str | None = None
    """That of the run or span around it."""
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """The framework's metadata of the run; handlers keep plain values only."""

    @property
    def refusals(self) -> int:
        """Attempts that were refused for want of capacity; they are not billed."""
        return sum(attempt.outcome == REFUSED for attempt in self.attempts)

    @property
    def possibly_billed_attempts(self) -> int:
        """Attempts that the provider may have billed although no answer came of them."""
        return sum(attempt.possibly_billed for attempt in self.attempts)

    def to_dict(self) -> dict[str, Any]:
        """The record as plain JSON types; money as strings."""
        return {
            "call_id": self.call_id,
            "at": self.at.isoformat(),
            "framework": self.framework,
            "model": self.model,
            "served_model": self.served_model,
            "lane": self.lane,
            "first_lane": self.first_lane,
            "answered": self.answered,
            "usage": None if self.usage is None else self.usage.to_dict(),
            "cost": self.cost.to_dict(),
            "premium": _written(self.premium),
            "possibly_billed": _written(self.possibly_billed),
            "fallback": self.fallback,
            "attempts": [attempt.to_dict() for attempt in self.attempts],
            "waited": self.waited,
            "elapsed": self.elapsed,
            "error": self.error,
            "run_id": self.run_id,
            "parent_run_id": self.parent_run_id,
            "tags": list(self.tags),
            "metadata": dict(self.metadata),
        }


OnRecord = Callable[[CallRecord], object]
"""A callback for records: a ledger's ``add``, a list's ``append``."""


def record_of(
    report: CallReport,
    *,
    framework: str = "openai",
    run_id: str | None = None,
    parent_run_id: str | None = None,
    tags: Iterable[str] = (),
    metadata: Mapping[str, Any] | None = None,
) -> CallRecord:
    """The record of a call that flextier made.

    Args:
        report: what the call went through.
        framework: who made it.
        run_id: the framework's id of the call.
        parent_run_id: that of what is around it.
        tags: the framework's tags of the call.
        metadata: the framework's metadata of the call.
    """
    cost = report.cost
    return CallRecord(
        call_id=report.id,
        at=datetime.fromtimestamp(report.at, timezone.utc),
        framework=framework,
        model=report.model,
        served_model=report.served_model,
        lane=report.lane,
        first_lane=report.first_lane,
        answered=report.served,
        usage=report.usage,
        cost=cost,
        premium=_premium(report, cost),
        possibly_billed=_bound(report),
        fallback=report.fallback,
        attempts=report.attempts,
        waited=report.waited,
        elapsed=report.elapsed,
        error=report.error,
        run_id=run_id,
        parent_run_id=parent_run_id,
        tags=tuple(tags),
        metadata=dict(metadata or {}),
    )


def _premium(report: CallReport, cost: Cost) -> Decimal | None:
    """What a fallback cost above the lane that the call was meant for.

    A model that the lane does not have could not have been answered there: no premium.
    """
    if report.fallback in (None, "lane_unsupported") or cost.total is None:
        return None
    meant = cost_or_unpriced(report.usage, report.models, report.first_lane, report.at)
    return None if meant.total is None else difference(cost.total, meant.total)


def _bound(report: CallReport) -> Decimal | None:
    """The most that the possibly billed attempts can have cost.

    Each is taken to have read the whole input uncached and to have written up to the call's limit,
    or, where it set none, as much as the answer did. Without an answer the input is not known.
    """
    lanes = [attempt.lane for attempt in report.attempts if attempt.possibly_billed]
    usage = report.usage
    if not lanes or usage is None:
        return None
    written_at_most = max(usage.output_tokens, report.output_limit or 0)
    most = Usage(usage.input_tokens, written_at_most)
    costs = [cost_or_unpriced(most, report.models, lane, report.at).total for lane in lanes]
    known = [cost for cost in costs if cost is not None]
    return total(known) if len(known) == len(costs) else None


def _written(amount: Decimal | None) -> str | None:
    return None if amount is None else plain_digits(amount)
