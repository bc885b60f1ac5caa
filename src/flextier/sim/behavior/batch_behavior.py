"""How batches behave, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from flextier.sim.base import validation

Seconds = float | tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class BatchWeather:
    """How batches behave. The default: every batch is done at once.

    Times are the provider's: :class:`flextier.sim.Simulator` can let them run faster (``speed``).
    Batches keep the weather they were created in.

    Attributes:
        validating: Seconds until a batch's file is validated, or a ``(low, high)`` range.
        seconds: Seconds from then until its last line is done, or a range. Lines finish evenly
            over this time, so this also says how many are done when a batch expires or is
            cancelled.
        finalizing: Seconds from then until its files can be had, or a range.
        cancelling: Seconds that cancelling takes, or a range.
        expire_after: Seconds after its creation at which a batch expires.
        enqueued_limit: Input tokens that the unfinished batches of one account and model may
            have together; None: any number.
        line_errors: The probability that a line fails with a 500. 0 to 1.
        line_rate_limits: The probability that a line fails with a 429. 0 to 1.
        api_errors: The probability that a call to Files or Batches is answered 500. 0 to 1.
        unsupported_models: Models, or shell patterns, that batches do not take.
        max_lines: Lines in a file, and texts in a file for embeddings.
        max_bytes: Bytes in an uploaded file.

    Raises:
        ValueError: A field is out of its range; the message names it.
    """

    validating: Seconds = 0.0
    seconds: Seconds = 0.0
    finalizing: Seconds = 0.0
    cancelling: Seconds = 0.0
    expire_after: float = 86_400.0
    enqueued_limit: int | None = None
    line_errors: float = 0.0
    line_rate_limits: float = 0.0
    api_errors: float = 0.0
    unsupported_models: tuple[str, ...] = ()
    max_lines: int = 50_000
    max_bytes: int = 209_715_200

    def __post_init__(self) -> None:
        for name in ("validating", "seconds", "finalizing", "cancelling"):
            validation.given(name, getattr(self, name))
            validation.latency(name, getattr(self, name))
        validation.positive("expire_after", self.expire_after)
        for name in ("line_errors", "line_rate_limits", "api_errors"):
            validation.probability(name, getattr(self, name))
        if self.line_errors + self.line_rate_limits > 1:
            raise ValueError("line_errors and line_rate_limits must be 1 or less together")
        validation.names("unsupported_models", self.unsupported_models)
        for name in ("max_lines", "max_bytes"):
            validation.given(name, getattr(self, name))
        for name in ("enqueued_limit", "max_lines", "max_bytes"):
            validation.whole(name, getattr(self, name))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> BatchWeather:
        """From JSON's types: lists for tuples.

        Raises:
            ValueError: A field is unknown or out of its range; the message names it.
        """
        unknown = set(data) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"batch has unknown fields: {', '.join(sorted(unknown))}")
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
        }
        try:
            return cls(**given)
        except ValueError as error:
            raise ValueError(f"batch: {error}") from error
