"""What is raised when a call is given up: the error, what was tried, and the knob that ended it."""

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
    "deadline": "another try would not fit FlexPolicy.deadline (FLEXTIER_DEADLINE)",
    "max_retries": "FlexPolicy.max_retries (FLEXTIER_MAX_RETRIES) is spent. If no server answers "
    "at all, check base_url (OPENAI_BASE_URL)",
    "server": "the server asked not to retry (x-should-retry: false)",
}


def explained(error: Exception, history: str, limit: Limit) -> Exception:
    """The same error; its message ends with what was tried, and with the knob.

    Not a note of PEP 678: Python 3.10 and LangChain lose those.
    """
    message = f"{error} [{_gave_up(history, limit)}]"
    error.args = (message, *error.args[1:])
    if isinstance(error, openai.APIError):
        error.message = message
    return error


def shut(url: str, lane: str, model: str, history: str, limit: Limit) -> FlexUnavailable:
    """The error for a call that its last lane has never let in."""
    return flex_unavailable(url, f"{lane} refuses {model!r} now: {_gave_up(history, limit)}")


def late(request: Any, deadline: float | None, history: str) -> FlexDeadlineExceeded:
    """The error for a call that no lane has answered in time."""
    return FlexDeadlineExceeded(
        request,
        f"no answer within the deadline of {deadline or math.inf:g} s ({history}); "
        "raise FlexPolicy.deadline (FLEXTIER_DEADLINE)",
    )


def _gave_up(history: str, limit: Limit) -> str:
    return f"flextier gave up after {history}: {_KNOBS[limit]}"
