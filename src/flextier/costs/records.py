"""CallRecord: one model call and its cost, as handlers count it and ledgers store it.

It has no prompt and no response: names, times, tokens and money only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from decimal import Decimal
from threading import RLock
from typing import Any

from flextier.calls.report import Attempt, CallReport
from flextier.pricing.cost import Cost
from flextier.pricing.decimals import optional_digits, total_if_known
from flextier.pricing.price_book import cost_or_unpriced
from flextier.pricing.usage import Usage

REFUSED = "capacity"
_MAX_IDS = 10_000


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One model call, with or without a response."""

    call_id: str
    """The unique id of the call."""
    at: datetime
    """When it began, UTC."""
    framework: str
    """``"langchain"``, ``"llama-index"`` or ``"openai"``."""
    model: str
    """The requested model."""
    served_model: str | None
    """The model that the response names."""
    lane: str
    """The billed lane; for a call without a response, the lane of its last attempt."""
    first_lane: str
    """The first lane of the call."""
    answered: bool
    """Whether the call got a response."""
    usage: Usage | None
    """The tokens billed. None: the response does not report them, or there was none."""
    cost: Cost
    """Their cost; unpriced where it is unknown."""
    premium: Decimal | None = None
    """After a fallback, the cost less its price on the first lane, in US$. None: there was no
    fallback, or one of the prices is unknown."""
    possibly_billed: Decimal | None = None
    """The maximum cost of attempts that may have been billed although they gave no response, in
    US$. None: there were none, or their maximum is unknown."""
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
        """Attempts that were refused for lack of capacity; they are not billed."""
        return sum(attempt.outcome == REFUSED for attempt in self.attempts)

    @property
    def possibly_billed_attempts(self) -> int:
        """Attempts that the provider may have billed although they gave no response."""
        return sum(attempt.possibly_billed for attempt in self.attempts)

    def to_dict(self) -> dict[str, Any]:
        """The record as plain JSON types; money as strings."""
        return {name: getattr(self, name) for name in self.__slots__} | {
            "at": self.at.isoformat(),
            "usage": None if self.usage is None else self.usage.to_dict(),
            "cost": self.cost.to_dict(),
            "premium": optional_digits(self.premium),
            "possibly_billed": optional_digits(self.possibly_billed),
            "attempts": [attempt.to_dict() for attempt in self.attempts],
            "tags": list(self.tags),
            "metadata": dict(self.metadata),
        }


class RecentIds:
    """The ids of the last calls, to count a call once that is reported twice. Thread-safe."""

    def __init__(self) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._lock = RLock()  # the garbage collector may end a call while the lock is held

    def is_new(self, call_id: str) -> bool:
        """Whether the id was not in it yet; it is from now on."""
        with self._lock:
            if call_id in self._ids:
                return False
            self._ids[call_id] = None
            if len(self._ids) > _MAX_IDS:
                self._ids.popitem(last=False)
            return True


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
        framework: ``"langchain"``, ``"llama-index"`` or ``"openai"``.
        run_id: the framework's id of the call.
        parent_run_id: the id of the run or span around it.
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
        premium=report.premium,
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


def _bound(report: CallReport) -> Decimal | None:
    """The maximum cost of the possibly billed attempts.

    Each is assumed to have read the whole input uncached, and to have written up to the call's
    limit or, without one, as much as the response. Without a response the input is unknown.
    """
    lanes = [attempt.lane for attempt in report.attempts if attempt.possibly_billed]
    usage = report.usage
    if not lanes or usage is None:
        return None
    written_at_most = max(usage.output_tokens, report.output_limit or 0)
    most = Usage(usage.input_tokens, written_at_most)
    return total_if_known(
        [cost_or_unpriced(most, report.models, lane, report.at).total for lane in lanes]
    )
