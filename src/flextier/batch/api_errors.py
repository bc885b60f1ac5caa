"""Errors of the Batch API, and how they are raised in the calls of a batch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import openai
from openai.types import Batch

from flextier._openai.compat import failure_of
from flextier.errors import BatchDetached
from flextier.lanes.failures import Failure

_ROOM = re.compile(r"token_limit|enqueued token", re.IGNORECASE)
_MODEL = re.compile(r"model(?!_mismatch)", re.IGNORECASE)

NOT_HERE = frozenset({401, 403, 404, 405, 501})
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
    def is_about_room(self) -> bool:
        """Whether too many tokens are enqueued: the batch may be sent again later."""
        return is_about_room(self.code, self.message)

    @property
    def is_about_model(self) -> bool:
        """Whether every batch of this model would fail."""
        return self.line is None and _MODEL.search(self.code) is not None


def is_about_room(code: str | None, message: str) -> bool:
    """Whether an error reports that too many tokens are enqueued."""
    return _ROOM.search(f"{code} {message}") is not None


def refusals_of(batch: Batch) -> list[ValidationFailure]:
    """The validation errors of a failed batch."""
    entries = (batch.errors and batch.errors.data) or []
    return [
        ValidationFailure(e.code or "failed", e.message or "", e.line, e.param) for e in entries
    ]


def is_denied(failure: Failure) -> bool:
    """Whether an upload or a creation was rejected for reasons that other lanes may not have."""
    return failure.status is not None and 400 <= failure.status < 500 and failure.status != 429


def again(error: Exception, request: Any) -> Exception:
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


def detached(request: Any) -> Exception:
    """The error of a call that is detached from its batch."""
    return BatchDetached(
        "the call was detached, as the program ends; the batch goes on, and the same call with the "
        "same journal (FLEXTIER_JOURNAL) gets its answer"
    )


def surely_not_sent(error: Exception) -> bool:
    """Whether the server cannot have acted on the request that failed."""
    failure = failure_of(error)
    if failure is None:
        return False
    if failure.status is None:
        return not failure.sent
    return 400 <= failure.status < 500 and failure.status not in (408, 409)
