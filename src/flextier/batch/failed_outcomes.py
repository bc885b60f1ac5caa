"""What the calls of a batch that failed get, each its own copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flextier._openai.compat import failure_of
from flextier.batch.api_errors import (
    NO_BATCH_API,
    ValidationFailure,
    copy_for,
    is_denied,
    not_written,
    surely_not_processed,
    unknown_result,
)
from flextier.batch.future import LineOutcome, error_response, raised
from flextier.journal import JournalError
from flextier.lanes.batch import LINE_ERROR, MODEL_ERROR


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
        return raised(lambda request: unknown_result(request, error))
    failure = failure_of(error)
    if failure is not None and is_denied(failure) and surely_not_processed(error):
        # Other lanes may still work: the key may not allow files, or the server has none.
        kind = MODEL_ERROR if failure.status in NO_BATCH_API else LINE_ERROR
        status = failure.status or 400
        return error_response(kind, failure.code, failure.message, failure.param, status)
    if isinstance(error, (OSError, JournalError)):
        return raised(lambda request: not_written(request, error))
    return raised(lambda request: copy_for(error, request))
