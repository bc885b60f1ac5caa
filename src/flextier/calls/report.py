"""What a call went through: its attempts, its report, its retries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flextier.lanes import JOURNAL
from flextier.pricing.usage import Usage

if TYPE_CHECKING:
    from decimal import Decimal

    from tenacity import RetryCallState

    from flextier.pricing.cost import Cost

SERVED = "served"
CANCELLED = "cancelled"

# After these the server may have finished, and billed, a response that never arrived. Whether
# OpenAI bills them is not documented. A refusal is documented not to be charged.
_POSSIBLY_BILLED = frozenset(
    {"timeout", "transient", "unfinished", "interrupted", "error", CANCELLED}
)
_REFUSED_BY_STATUS = frozenset({"transient", "unfinished"})


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request on the wire."""

    lane: str
    outcome: str
    """``"served"``, a kind of the failure table, ``"interrupted"`` (a stream that broke off after
    its first event), ``"cancelled"``, or ``"error"`` (an exception that is no API failure)."""
    seconds: float
    """From sending to the outcome; for a stream, to its last event."""
    status: int | None = None
    """The HTTP status; None when none arrived."""
    request_id: str | None = None
    """OpenAI's ``x-request-id``."""
    sent: bool = True
    """Whether the request may have reached the server: False if there was no connection."""

    @property
    def possibly_billed(self) -> bool:
        """Whether the provider may have billed this attempt although it gave no response."""
        if self.outcome in _REFUSED_BY_STATUS and self.status is not None and self.status >= 400:
            return False
        return self.sent and self.outcome in _POSSIBLY_BILLED

    def to_dict(self) -> dict[str, Any]:
        """The attempt as JSON types."""
        # Not dataclasses.asdict, which takes twenty times as long, on every call.
        return {
            "lane": self.lane,
            "outcome": self.outcome,
            "seconds": self.seconds,
            "status": self.status,
            "request_id": self.request_id,
            "possibly_billed": self.possibly_billed,
            "sent": self.sent,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Attempt:
        """The attempt that :meth:`to_dict` was called on.

        Raises:
            KeyError, TypeError: ``data`` does not come from it.
        """
        return cls(**{name: value for name, value in data.items() if name != "possibly_billed"})


@dataclass(frozen=True, slots=True)
class CallReport:
    """What one call went through: attempts, waits, lane, usage and cost."""

    model: str
    """The requested model."""
    lane: str
    """The lane that was billed, as the response reports it; for a call without a response, the lane
    of the last attempt. ``"journal"``: the journal had the response, and nothing was billed."""
    attempts: tuple[Attempt, ...]
    """Every request on the wire, in order."""
    waited: float
    """Seconds spent between attempts."""
    elapsed: float
    """Seconds from the call to its end, waits included."""
    fallback: str | None = None
    """Why the call was not billed on its first lane: a kind of the failure table, or
    ``"downgraded"`` when the server itself served another tier. None: it was."""
    usage: Usage | None = None
    """The tokens billed, where the response reports them."""
    id: str = ""
    """The unique id of the call."""
    at: float = 0.0
    """When the call began: seconds since the epoch."""
    first_lane: str = ""
    """The first lane of the call, where it would be billed without a fallback."""
    served_model: str | None = None
    """The model that the response names; None where it names none."""
    output_limit: int | None = None
    """The most output tokens that the call allowed; None: it set no limit."""
    error: str | None = None
    """The class name of the exception that ended the call; None: it returned."""
    why: str = ""
    """Why ``lanes="auto"`` chose its lanes, or why the call cannot take lanes that the policy
    names; empty: it can take all of them."""
    usage_estimated: bool = False
    """Whether ``usage`` is an estimate by the text of a chat stream that did not report it."""
    limits: str = ""
    """The deadline, the patience and the limits of an attempt on flex and on standard, each with
    where it comes from: ``"patience 10 s (timeout * (max_retries + 1)), …"``."""

    @property
    def cost(self) -> Cost:
        """The cost of the call, by the price book of this process; computed on access.

        Unpriced for a call without usage, or a model without a price; neither raises.
        """
        from flextier.pricing.cost import of_estimated_usage
        from flextier.pricing.price_book import cost_or_unpriced

        cost = cost_or_unpriced(self.usage, self.models, self.lane, self.at)
        return of_estimated_usage(cost) if self.usage_estimated else cost

    @property
    def premium(self) -> Decimal | None:
        """The cost of a fallback, less its price on the first lane; computed on access.

        None where that is not known, or where the first lane does not have the model: it could not
        have served the call.
        """
        from flextier.pricing.decimals import difference
        from flextier.pricing.price_book import cost_or_unpriced

        if self.fallback in (None, "lane_unsupported") or (cost := self.cost.total) is None:
            return None
        meant = cost_or_unpriced(self.usage, self.models, self.first_lane, self.at).total
        return None if meant is None else difference(cost, meant)

    @property
    def models(self) -> tuple[str, ...]:
        """The model's names, the response's first: a price may be listed under either."""
        return (self.model,) if self.served_model is None else (self.served_model, self.model)

    @property
    def served(self) -> bool:
        """Whether the call got a response."""
        if not self.attempts:
            return self.lane == JOURNAL
        return self.attempts[-1].outcome == SERVED

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON types."""
        return {name: getattr(self, name) for name in self.__slots__} | {
            "attempts": [attempt.to_dict() for attempt in self.attempts],
            "usage": None if self.usage is None else self.usage.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> CallReport:
        """The report that :meth:`to_dict` was called on.

        Raises:
            KeyError, TypeError: ``data`` does not come from it.
        """
        usage = data["usage"]
        attempts = tuple(Attempt.from_dict(attempt) for attempt in data["attempts"])
        fields = {**data, "attempts": attempts, "usage": None if usage is None else Usage(**usage)}
        return cls(**fields)


def attach_report(error: BaseException, report: CallReport) -> None:
    """Give ``error`` the report of the call that it ended."""
    error.report = report  # type: ignore[attr-defined]  # the SDK's classes do not declare it


def report_of(error: BaseException) -> CallReport | None:
    """The report of the call that ``error``, or an error it was raised from, has ended.

    None: it was raised before a call began, or by something else.
    """
    seen: BaseException | None = error
    while seen is not None:
        if (report := getattr(seen, "report", None)) is not None:
            return report  # type: ignore[no-any-return]  # set by attach_report only
        seen = seen.__cause__
    return None


@dataclass(frozen=True, slots=True)
class Retry:
    """A retry of a call, reported before the wait for it."""

    model: str
    """The requested model."""
    failed: Attempt
    """The attempt that failed."""
    lane: str
    """The lane of the next attempt."""
    wait: float
    """Seconds until the next attempt."""
    error: Exception
    """The error of the attempt that failed."""
    number: int = 1
    """How many attempts have ended."""
    waited: float = 0.0
    """Seconds that the call has waited before."""

    @property
    def state(self) -> RetryCallState:
        """The retry as tenacity has it: the error in ``outcome``, the wait in ``next_action``.

        Its ``lane`` and ``cause`` are the lane of the next attempt, and why this one failed.
        """
        from tenacity import RetryAction, RetryCallState, Retrying  # most programs listen to none

        state: Any = RetryCallState(Retrying(), None, (), {})
        state.attempt_number, state.idle_for = self.number, self.waited
        state.set_exception((type(self.error), self.error, self.error.__traceback__))
        state.next_action, state.upcoming_sleep = RetryAction(self.wait), self.wait
        state.lane, state.cause = self.lane, self.failed.outcome
        return state  # type: ignore[no-any-return]  # two attributes more than tenacity declares
