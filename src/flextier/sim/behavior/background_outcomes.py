"""Scripted outcomes: what shall become of one background response, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flextier.sim.base import validation

Kind = Literal["complete", "fail", "incomplete", "cancel", "stay", "delete", "outrun"]
Reason = Literal["max_output_tokens", "content_filter"]

FINAL = frozenset({"completed", "failed", "incomplete", "cancelled"})

FAILED = "The server had an error while processing your request. Sorry about that!"


@dataclass(frozen=True)
class BackgroundOutcome:
    """The outcome of one background response. Made by the class methods.

    Give outcomes to :meth:`flextier.sim.Simulator.script_background`; each is used once, in the
    order of creation.

    Attributes:
        kind: Which of the class methods made it.
        after: Seconds of the provider's time after its creation; None: when the weather says.
        code: The error's code (``fail``).
        message: The error's message (``fail``).
        reason: Why it is incomplete (``incomplete``).
        status: Where it stays (``stay``).
    """

    kind: Kind
    after: float | None = None
    code: str = "server_error"
    message: str = FAILED
    reason: Reason = "max_output_tokens"
    status: str = ""

    @classmethod
    def complete(cls, after: float | None = None) -> BackgroundOutcome:
        """It completes, ``after`` seconds after its creation."""
        return cls("complete", _checked(after))

    @classmethod
    def fail(
        cls, code: str = "server_error", message: str = FAILED, after: float | None = None
    ) -> BackgroundOutcome:
        """It fails with this error."""
        return cls("fail", _checked(after), code, message)

    @classmethod
    def incomplete(
        cls, reason: Reason = "max_output_tokens", after: float | None = None
    ) -> BackgroundOutcome:
        """It ends half written."""
        if reason not in ("max_output_tokens", "content_filter"):
            raise ValueError(
                f"reason must be 'max_output_tokens' or 'content_filter', not {reason!r}"
            )
        return cls("incomplete", _checked(after), reason=reason)

    @classmethod
    def cancel(cls, after: float = 0.0) -> BackgroundOutcome:
        """Another client cancels it, ``after`` seconds after its creation."""
        return cls("cancel", _checked(after))

    @classmethod
    def stay(cls, status: str, after: float = 0.0) -> BackgroundOutcome:
        """It stays in a status until it is cancelled.

        Args:
            status: ``queued``, ``in_progress``, or any word that the API does not know today.
            after: Seconds after its creation at which it gets there.

        Raises:
            ValueError: The status is one in which a response has ended.
        """
        if not status or status in FINAL:
            raise ValueError(f"status must be one in which a response goes on, not {status!r}")
        return cls("stay", _checked(after), status=status)

    @classmethod
    def delete(cls, after: float = 0.0) -> BackgroundOutcome:
        """It is gone ``after`` seconds after its creation, whether it has ended or not."""
        return cls("delete", _checked(after))

    @classmethod
    def outrun(cls) -> BackgroundOutcome:
        """It completes while it is being cancelled, if it is cancelled before it has ended."""
        return cls("outrun")


def _checked(after: float | None) -> float | None:
    validation.not_negative("after", after)
    return after
