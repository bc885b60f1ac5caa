"""Errors of the Batch API: validation failures, the enqueued-token limit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from flextier._openai.error_conversion import failure_of
from flextier._openai.public_names import Batch
from flextier.lanes import BATCH
from flextier.lanes.failures import Failure, classify

_ENQUEUE_LIMIT = re.compile(r"token_limit|enqueued token", re.IGNORECASE)
_MODEL_CODE = re.compile(r"model(?!_mismatch)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ValidationFailure:
    """One validation error of a failed batch."""

    code: str
    message: str
    line: int | None
    """Line number in the input file, from 1; None: the error is about the whole file."""
    param: str | None

    @property
    def is_quota(self) -> bool:
        """Whether the account may not spend more, on any lane."""
        return classify(Failure(status=429, code=self.code), BATCH) == "quota"

    @property
    def rejects_model(self) -> bool:
        """Whether every batch of this model would fail."""
        return self.line is None and _MODEL_CODE.search(self.code) is not None


def is_enqueue_limit(code: str | None, message: str) -> bool:
    """Whether an error reports that too many tokens are enqueued."""
    return _ENQUEUE_LIMIT.search(f"{code} {message}") is not None


def validation_failures(batch: Batch) -> list[ValidationFailure]:
    """The validation errors of a failed batch."""
    found: Any = getattr(batch.errors, "data", None)
    return [
        ValidationFailure(
            str(getattr(error, "code", None) or "failed"),
            str(getattr(error, "message", None) or ""),
            line if isinstance(line := getattr(error, "line", None), int) else None,
            param if isinstance(param := getattr(error, "param", None), str) else None,
        )
        for error in (found if isinstance(found, list) else ())
    ]


def surely_not_processed(error: Exception) -> bool:
    """Whether the server cannot have processed the request that failed."""
    failure = failure_of(error)
    if failure is None:
        return False
    if failure.status is None:
        return not failure.sent
    return 400 <= failure.status < 500 and failure.status not in (408, 409)
