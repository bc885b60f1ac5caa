"""Whether a call moves to the Responses API, as background lanes need, and its arguments there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from flextier.lanes import AUTO, EXECUTIONS
from flextier.lanes.flex import OPEN_TIERS
from flextier.lanes.responses_api import CHAT_NAMES, chat_only
from flextier.pricing.model_lanes import needs_windows


@lru_cache(maxsize=256)
def needs_responses(lanes: Sequence[str], lane_support: Sequence[str], model: str) -> bool:
    """Whether background lanes are named, or replace flex for the model."""
    if lanes == (AUTO,):
        return needs_windows(model, lane_support)
    return any(EXECUTIONS[name] == "background" for name in lanes)


def fits_responses(fields: Mapping[str, Any], chat_body: Callable[[], dict[str, Any]]) -> bool:
    """Whether a call may move: it has chosen no tier itself, and nothing of it would be lost.

    Args:
        fields: the call's fields, without its messages and ``stop``.
        chat_body: makes the body of its chat completion.
    """
    extra = fields.get("extra_body") or {}
    if {**fields, **extra}.get("service_tier") not in OPEN_TIERS:
        return False
    try:
        body = chat_body()
    except ValueError:  # a message that Chat Completions cannot take
        return True
    return not chat_only({**body, **extra})


def responses_arguments(given: dict[str, Any], extra_body: Any) -> dict[str, Any]:
    """The arguments of a call that has moved, in the terms of ``ChatOpenAI`` for that API.

    ``ChatOpenAI`` translates the names of Chat Completions, but none in ``extra_body``. It also
    fails where a default is given, or usage is requested: streams of this API always state it.
    """
    extra = dict(extra_body or {})
    moved = {name: extra.pop(name) for name in CHAT_NAMES if name in extra}
    arguments = {**given, **moved}
    if moved:
        arguments["extra_body"] = extra
    arguments.pop("stream_usage", None)
    options = arguments.pop("stream_options", None) or {}
    if others := {k: v for k, v in options.items() if k != "include_usage"}:
        arguments["stream_options"] = others
    if arguments.get("response_format") == {"type": "text"}:
        del arguments["response_format"]
    return {k: v for k, v in arguments.items() if v is not None or k not in CHAT_NAMES}
