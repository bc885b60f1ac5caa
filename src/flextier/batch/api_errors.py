"""Errors of the Batch API, and how they are raised in the calls of a batch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from flextier._openai import public_names as openai
from flextier._openai.compat import failure_of
from flextier._openai.public_names import Batch
from flextier.errors import BatchDetached, BatchNotSent
from flextier.lanes import BATCH
from flextier.lanes.failures import Failure, classify
from flextier.policy import FlexPolicy

_ENQUEUE_LIMIT = re.compile(r"token_limit|enqueued token", re.IGNORECASE)
_MODEL_CODE = re.compile(r"model(?!_mismatch)", re.IGNORECASE)

NO_BATCH_API = frozenset({401, 403, 404, 405, 501})
"""Statuses of an upload or a creation that mean: this key has no access to the Batch API."""


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
    return [_validation_failure(error) for error in (found if isinstance(found, list) else ())]


def _validation_failure(error: Any) -> ValidationFailure:
    code, message, line, param = (
        getattr(error, x, None) for x in ("code", "message", "line", "param")
    )
    return ValidationFailure(
        str(code or "failed"),
        str(message or ""),
        line if isinstance(line, int) else None,
        param if isinstance(param, str) else None,
    )


def is_denied(failure: Failure) -> bool:
    """Whether an upload or a creation was rejected for a reason that other lanes may not have."""
    return failure.status is not None and 400 <= failure.status < 500 and failure.status != 429


def copy_for(error: Exception, request: Any) -> Exception:
    """A copy of the error for one call: each call attaches its own report to it."""
    if isinstance(error, openai.APIStatusError):
        return type(error)(error.message, response=error.response, body=error.body)
    if isinstance(error, openai.APITimeoutError):
        return openai.APITimeoutError(request)
    if isinstance(error, openai.APIConnectionError):
        raised = openai.APIConnectionError(message=error.message, request=request)
        raised.__cause__ = error.__cause__
        return raised
    if isinstance(error, openai.OpenAIError):
        return type(error)(*error.args)
    raised = openai.APIConnectionError(message=f"the batch lane failed: {error}", request=request)
    raised.__cause__ = error
    return raised


def surely_not_processed(error: Exception) -> bool:
    """Whether the server cannot have processed the request that failed."""
    failure = failure_of(error)
    if failure is None:
        return False
    if failure.status is None:
        return not failure.sent
    return 400 <= failure.status < 500 and failure.status not in (408, 409)


def detached(request: Any) -> Exception:
    """The error of a call that is detached from its batch."""
    return BatchDetached(
        "the call was detached, as the program ends; the batch goes on, and the same call with the "
        "same journal (FLEXTIER_JOURNAL) gets its answer"
    )


def not_written(request: Any, cause: Exception) -> BatchNotSent:
    """The error of a call whose line, or journal entry, cannot be written to disk."""
    return BatchNotSent(
        message=f"the line of a batch cannot be written: {getattr(cause, 'strerror', cause)}",
        request=request,
    )


def unknown_result(request: Any, cause: Exception | None) -> Exception:
    """The error of a call whose line may be done and billed, but whose result cannot be read."""
    error = openai.APITimeoutError(request)
    error.__cause__ = cause
    return error


def unfinished_message(status: str, why: str, batch_id: str | None, policy: FlexPolicy) -> str:
    """Why a batch ended without a response to a line.

    ``status`` is the batch's; ``"alone"`` if too few calls joined, ``"deadline"`` if time is up.
    ``why`` is the batch's own error, or empty. Without ``batch_id`` it was not created.
    """
    batch = "a batch that is not created yet" if batch_id is None else f"batch {batch_id}"
    if status == "alone":
        return (
            "fewer calls than batch_min_calls (FLEXTIER_BATCH_MIN_CALLS), "
            f"{policy.batch_min_calls}, joined within batch_window (FLEXTIER_BATCH_WINDOW), "
            f"{policy.batch_window:g} s: no batch was made"
        )
    if status == "deadline":
        return f"{batch}: the wait ended to keep FlexPolicy.deadline (FLEXTIER_DEADLINE)"
    return f"{batch}: {status}{f' ({why})' if why else ''}, without a response to it"
