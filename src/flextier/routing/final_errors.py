"""The error when a call is given up: its attempts, and the knob that ended it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from flextier.lanes.failures import Kind
from flextier.planning.fallback import Limit

if TYPE_CHECKING:
    from flextier.calls.context import Scope
    from flextier.routing.call import CallState

_KNOBS: dict[Limit, str] = {
    "patience": "FlexPolicy.patience (FLEXTIER_PATIENCE) is spent: raise it, or add a lane "
    "to FlexPolicy.lanes (FLEXTIER_LANES)",
    "deadline": "another attempt would not fit FlexPolicy.deadline (FLEXTIER_DEADLINE)",
    "max_retries": "FlexPolicy.max_retries (FLEXTIER_MAX_RETRIES) is spent",
    "server": "the server forbids a retry (x-should-retry: false)",
}


def not_admitted_error(state: CallState, limit: Limit) -> Exception:
    """The error for a call that its last lane has not admitted for as long as it may wait."""
    if limit == "deadline":
        exceeded = deadline_error(state)
        exceeded.__cause__ = state.error
        return exceeded
    if state.error is not None:
        return _explained(state.error, state, limit)
    summary = _summary(state, limit)
    return state.transport.unavailable(
        f"{state.ladder.lane.name} refuses {state.call.model!r} now: {summary}"
    )


def final_error(state: CallState, error: Exception, kind: Kind, limit: Limit) -> Exception:
    """The error for a call whose last attempt has failed with ``error``."""
    if kind in ("timeout", "unfinished") and (limit == "deadline" or state.past_deadline):
        exceeded = deadline_error(state, getattr(error, "request", None))
        exceeded.__cause__ = error
        return exceeded
    return error if limit == "none" else _explained(error, state, limit)


def deadline_error(state: CallState, request: Any = None) -> Exception:
    """The error for a call that no lane has answered by the deadline."""
    deadline = state.setting.policy.deadline
    seconds = math.inf if deadline is None else deadline
    return state.transport.deadline_exceeded(
        f"no answer within the deadline of {seconds:g} s ({state.log.history()}); raise "
        "FlexPolicy.deadline (FLEXTIER_DEADLINE), or the end that override(until=...) sets",
        request,
    )


def _explained(error: Exception, state: CallState, limit: Limit) -> Exception:
    """The same error, its message extended by the attempts and the knob.

    Not a note of PEP 678: Python 3.10 and LangChain lose those.
    """
    message = f"{error} [{_summary(state, limit)}]"
    error.args = (message, *error.args[1:])
    if hasattr(error, "message"):
        error.message = message
    return error


def _summary(state: CallState, limit: Limit) -> str:
    summary = f"flextier gave up after {state.log.history()}: {_KNOBS[limit]}"
    attempts = state.log.attempts
    if state.is_direct and attempts and not any(attempt.sent for attempt in attempts):
        summary += f". {_unreachable(state.setting.account.base_url, state.setting.scope)}"
    return summary


def _unreachable(base_url: str, scope: Scope) -> str:
    """What to check where no connection was made: the proxy, or the variable of the URL."""
    parts, proxies = urlsplit(base_url), getproxies()
    names = [name for name in (parts.scheme, "all") if name in proxies]
    if names and not proxy_bypass(parts.hostname or ""):
        return f"No server was reached: check the proxy ({names[0].upper()}_PROXY)"
    variable = "OPENAI_API_BASE" if scope.framework == "llama-index" else "OPENAI_BASE_URL"
    return f"No server was reached at {base_url}: check base_url ({variable})"
