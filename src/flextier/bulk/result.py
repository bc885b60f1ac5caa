"""The result of a run, and its progress."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from flextier.costs.receipt import Receipt
from flextier.costs.totals import CostTotals
from flextier.pricing.span import Span

Reason = Literal["interrupted", "deadline", "budget", "storage", "submitted", "collected"]


@dataclass(frozen=True, slots=True)
class BulkResult:
    """The result of a run."""

    rows: int
    """Rows of the input, unreadable ones included."""
    done: int
    """Rows with a response."""
    failed: int
    """Rows in the errors file."""
    resumed: int
    """Of ``done`` and ``failed``: rows that an earlier start had finished."""
    totals: CostTotals
    """The costs of the calls, those of earlier starts included."""
    elapsed: float
    """Seconds of this start."""
    output: Path | None
    """The output; None: it is not written yet, as rows are pending."""
    errors: Path | None
    """The errors file; None: no row failed."""
    stopped: Reason | None = None
    """Why the run ended before all rows were finished; None: they all are."""
    budget: Decimal | None = None
    """The limit in US$ for all starts of the run; None: it has none."""
    quoted: Span[Decimal] | None = None
    """What ``--quote`` has said of the run; None: nothing."""

    submitted: int = 0
    """Pending rows whose call is a line of a batch, or a background response, that goes on."""

    @property
    def receipt(self) -> Receipt:
        """What was quoted, paid and saved, all starts of the run together."""
        return Receipt(self.totals, self.quoted, self.budget, is_complete=not self.pending)

    @property
    def pending(self) -> int:
        """Rows that are not finished: the same run, started again, continues with them."""
        return self.rows - self.done - self.failed

    @property
    def exit_status(self) -> int:
        """Of the command: 0 all rows are done, 1 rows failed or are pending, 130 interrupted.

        With ``submit``: 0 all that are not done are submitted; ``collect``: 3 rows are pending.
        """
        if self.stopped == "interrupted":
            return 130
        if self.stopped == "collected":
            return 3
        if self.stopped == "submitted" and self.pending == self.submitted:
            return 1 if self.failed else 0
        return 1 if self.failed or self.pending else 0

    def to_dict(self) -> dict[str, Any]:
        """The result as plain JSON types; money as strings of US$."""
        shown = {name: getattr(self, name) for name in self.__slots__ if name != "quoted"}
        return shown | {
            "pending": self.pending,
            "elapsed": round(self.elapsed, 3),
            "output": None if self.output is None else str(self.output),
            "errors": None if self.errors is None else str(self.errors),
            "budget": None if self.budget is None else f"{self.budget:f}",
            "totals": self.totals.to_dict(),
            "receipt": self.receipt.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a run."""

    total: int | None
    """Rows of the input; None: not counted yet."""
    done: int
    failed: int
    resumed: int
    """Of ``done`` and ``failed``: rows that an earlier start had finished."""
    in_flight: int
    elapsed: float
    """Seconds."""
    totals: CostTotals
    """The costs of the calls so far. Live: copy them to keep them."""
    stopping: Reason | None = None
    """Why no new row begins; None: rows still begin."""

    @property
    def finished(self) -> int:
        """Rows that are done or failed."""
        return self.done + self.failed

    @property
    def per_second(self) -> float:
        """Rows a second of this start."""
        return (self.finished - self.resumed) / self.elapsed if self.elapsed > 0 else 0.0

    @property
    def eta(self) -> float | None:
        """Seconds until all rows are finished, at this speed; None: unknown."""
        speed = self.per_second
        return None if self.total is None or not speed else (self.total - self.finished) / speed

    def to_dict(self) -> dict[str, Any]:
        """The progress as plain JSON types; money as strings of US$."""
        eta, totals = self.eta, self.totals.copy()
        return {
            "total": self.total,
            "done": self.done,
            "failed": self.failed,
            "resumed": self.resumed,
            "in_flight": self.in_flight,
            "elapsed": round(self.elapsed, 3),
            "per_second": round(self.per_second, 3),
            "eta": None if eta is None else round(eta, 1),
            "lanes": {lane: sums.calls for lane, sums in totals.by_lane.items()},
            "cost": f"{totals.cost:f}",
            "saved": f"{totals.saved:f}",
            "refusals": totals.refusals,
            "stopping": self.stopping,
        }
