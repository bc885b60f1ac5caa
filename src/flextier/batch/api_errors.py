"""Errors of the Batch API for a rejected file, and the errors of its calls."""

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
"""Statuses of an upload or a creation that say that there is no Batch API for this key at all."""


@dataclass(frozen=True, slots=True)
class ValidationFailure:
    """One of the errors of a batch that failed its validation."""

    code: str
    message: str
    line: int | None
    """Of the input file, from 1; None: it is about the whole file."""
    param: str | None

    @property
    def is_about_room(self) -> bool:
        """Whether too many tokens are enqueued: there is room later."""
        return is_about_room(self.code, self.message)

    @property
    def is_about_model(self) -> bool:
        """Whether every batch of this model would fail."""
        return self.line is None and _MODEL.search(self.code) is not None


def is_about_room(code: str | None, message: str) -> bool:
    """Whether an error says that too many tokens are enqueued."""
    return _ROOM.search(f"{code} {message}") is not None


def refusals_of(batch: Batch) -> list[ValidationFailure]:
    """Why a batch failed."""
    entries = (batch.errors and batch.errors.data) or []
    return [
        ValidationFailure(e.code or "failed", e.message or "", e.line, e.param) for e in entries
    ]


def is_denied(failure: Failure) -> bool:
    """Whether an upload or a creation failed in a way that leaves the other lanes as they are."""
    return failure.status is not None and 400 <= failure.status < 500 and failure.status != 429


def again(error: Exception, request: Any) -> Exception:
    """The same error once more, for another call: each carries a report of its own."""
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
    """For a call that is detached."""
    return BatchDetached(
        "the program is to end; the batch goes on, and with the same journal "
        "(FLEXTIER_JOURNAL) the answer will be found there"
    )


def surely_not_sent(error: Exception) -> bool:
    """Whether nothing can have come of the request that failed."""
    failure = failure_of(error)
    if failure is None:
        return False
    if failure.status is None:
        return not failure.sent
    return 400 <= failure.status < 500 and failure.status not in (408, 409)
