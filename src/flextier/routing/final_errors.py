"""The error when a call is given up: its attempts, and the knob that ended it.

The deadline-exceeded message is written here.
"""

from __future__ import annotations

import math
from typing import Any

import openai

from flextier._openai.compat import flex_unavailable
from flextier.errors import FlexDeadlineExceeded, FlexUnavailable
from flextier.planning.fallback import Limit

_KNOBS: dict[Limit, str] = {
    "patience": "FlexPolicy.patience (FLEXTIER_PATIENCE) is spent: raise it, or add a lane "
    "to FlexPolicy.lanes (FLEXTIER_LANES)",
    "deadline": "another attempt would not fit FlexPolicy.deadline (FLEXTIER_DEADLINE)",
    "max_retries": "FlexPolicy.max_retries (FLEXTIER_MAX_RETRIES) is spent. If no server answers "
    "at all, check base_url (OPENAI_BASE_URL)",
    "server": "the server forbids a retry (x-should-retry: false)",
}


def with_explanation(error: Exception, history: str, limit: Limit) -> Exception:
    """The same error, its message extended by the attempts and the knob.

    Not a note of PEP 678: Python 3.10 and LangChain lose those.
    """
    message = f"{error} [{_summary(history, limit)}]"
    error.args = (message, *error.args[1:])
    if isinstance(error, openai.APIError):
        error.message = message
    return error


def unavailable_error(
    url: str, lane: str, model: str, history: str, limit: Limit
) -> FlexUnavailable:
    """The error for a call that its last lane has never admitted."""
    return flex_unavailable(url, f"{lane} refuses {model!r} now: {_summary(history, limit)}")


def deadline_error(request: Any, deadline: float | None, history: str) -> FlexDeadlineExceeded:
    """The error for a call that no lane has answered by the deadline."""
    seconds = math.inf if deadline is None else deadline
    return FlexDeadlineExceeded(
        request,
        f"no answer within the deadline of {seconds:g} s ({history}); raise FlexPolicy.deadline "
        "(FLEXTIER_DEADLINE), or the end that override(until=...) sets",
    )


def _summary(history: str, limit: Limit) -> str:
    return f"flextier gave up after {history}: {_KNOBS[limit]}"
