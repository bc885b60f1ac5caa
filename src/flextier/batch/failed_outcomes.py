"""What calls get whose batch has no response to their line, each an error of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flextier._openai import public_names as openai
from flextier._openai.error_conversion import failure_of
from flextier.batch.api_errors import ValidationFailure, surely_not_processed
from flextier.batch.future import LineOutcome, error_response, raised
from flextier.errors import BatchDetached, BatchNotSent
from flextier.journal import JournalError
from flextier.lanes.batch import LINE_ERROR, MODEL_ERROR

_NO_BATCH_API = frozenset({401, 403, 404, 405, 501})
"""Statuses of an upload or a creation that mean: this key has no access to the Batch API."""


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


def unknown_result(cause: Exception | None) -> LineOutcome:
    """The outcome of lines that may be done and billed, but whose result cannot be read."""
    return raised(lambda request: _caused(openai.APITimeoutError(request), cause))


def invalid_line(failure: ValidationFailure, kind: str = LINE_ERROR) -> LineOutcome:
    """The outcome of a line that failed validation."""
    return error_response(kind, failure.code, failure.message, failure.param)


def invalid_file(
    failures: Sequence[ValidationFailure], invalid: Mapping[str, ValidationFailure]
) -> LineOutcome | None:
    """The outcome of all calls of a file that failed validation; None: the batch is unfinished."""
    quota = next((f for f in failures if f.is_quota), None)
    rejection = next((f for f in failures if f.rejects_model), None)
    if quota is not None:
        return error_response("insufficient_quota", quota.code, quota.message, status=429)
    if rejection is not None:
        return invalid_line(rejection, MODEL_ERROR)
    return invalid_line(next(iter(invalid.values()))) if invalid else None


def failed_batch(error: Exception, *, maybe_created: bool) -> LineOutcome:
    """The outcome of all calls of a batch that an error has ended."""
    if maybe_created:
        return unknown_result(error)
    failure = failure_of(error)
    status = None if failure is None else failure.status
    if failure and status and status != 429 and surely_not_processed(error):
        # Other lanes may still work: the key may not allow files, or the server has none.
        kind = MODEL_ERROR if status in _NO_BATCH_API else LINE_ERROR
        return error_response(kind, failure.code, failure.message, failure.param, status)
    if isinstance(error, (OSError, JournalError)):
        return raised(lambda request: not_written(request, error))
    return raised(lambda request: _copy_for(error, request))


def _copy_for(error: Exception, request: Any) -> Exception:
    """A copy of the error for one call: each call attaches its own report to it."""
    if isinstance(error, openai.APIStatusError):
        return type(error)(error.message, response=error.response, body=error.body)
    if isinstance(error, openai.APITimeoutError):
        return openai.APITimeoutError(request)
    if isinstance(error, openai.APIConnectionError):
        copy = openai.APIConnectionError(message=error.message, request=request)
        return _caused(copy, error.__cause__)
    if isinstance(error, openai.OpenAIError):
        return type(error)(*error.args)
    message = f"the batch lane failed: {error}"
    return _caused(openai.APIConnectionError(message=message, request=request), error)


def _caused(error: Exception, cause: BaseException | None) -> Exception:
    error.__cause__ = cause
    return error
