"""Responses and finished rows as JSON: text stays text, tool calls stay with their message."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

from flextier.bulk.row import Row, RowProblem
from flextier.calls.report import CallReport
from flextier.pricing.decimals import optional_digits, total_if_known

_MAX_MESSAGE = 10_000
"""Characters of an error's message in the errors file."""
_SIMPLE = (str, int, float, bool, type(None))
_TEXT_TYPES = (date, datetime, time, timedelta, Decimal, UUID, PurePath)


# --- the lines of the output and of the errors file -------------------------------------------


def output_line(row: Row, response: Any, column: str, *, with_cost: bool) -> str:
    """The row's columns and the response; a RowProblem if that cannot be JSON."""
    try:
        added = {column: to_plain(response)}
        if with_cost:
            added |= cost_columns(row.reports)
        if row.text is None:
            return to_json({**to_plain(row.values or {}), **added})
        fields = to_json(added)
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise RowProblem(f"output: {error}") from error
    # The row's own text: nothing of it is lost, and most of the work is saved.
    return f"{row.text[:-1].rstrip()}{', ' if row.values else ''}{fields[1:]}"


def error_line(row: Row, error: BaseException | str) -> str:
    """The row's line in the errors file: where it stands, the error, its attempts and cost."""
    fields: dict[str, Any] = {
        "line": row.line,
        "key": _plain_or_repr(row.key),
        "error": _error(error),
    }
    if row.reports:
        last = row.reports[-1]
        fields["lane"] = last.lane
        fields["attempts"] = [attempt.to_dict() for attempt in last.attempts]
        fields["cost"] = cost_columns(row.reports)["cost"]
    fields["row"] = row.text if row.values is None else _plain_or_repr(row.values)
    return to_json(fields)


def cost_columns(reports: list[CallReport]) -> dict[str, Any]:
    """The columns of ``with_cost``; None: unknown."""
    costs = [report.cost for report in reports]
    return {
        "lane": ",".join(dict.fromkeys(report.lane for report in reports)) or None,
        "cost": _sum([cost.total for cost in costs]),
        "standard_cost": _sum([cost.standard for cost in costs]),
    }


def _sum(amounts: list[Decimal | None]) -> str | None:
    return optional_digits(total_if_known(amounts)) if amounts else None


def _error(error: BaseException | str) -> dict[str, str]:
    if isinstance(error, str):
        return {"type": "RowProblem", "message": error}
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - its own __str__ may fail, too
        message = ""
    return {"type": type(error).__name__, "message": message[:_MAX_MESSAGE]}


def _plain_or_repr(value: Any) -> Any:
    try:
        return to_plain(value)
    except (TypeError, ValueError, AttributeError, RecursionError):
        return repr(value)


# --- values -----------------------------------------------------------------------------------


def to_json(value: Any) -> str:
    """Plain values as JSON text that can be encoded as UTF-8."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair: only an escape can represent it
        text = json.dumps(value, allow_nan=False)
    return text


def to_plain(value: Any) -> Any:
    """A response as plain JSON types.

    Messages and responses of LangChain, LlamaIndex and the SDK become their text, or, with tool
    calls, ``{"content": ..., "tool_calls": [...]}``; pydantic models and dataclasses objects. A
    TypeError or ValueError: it cannot be JSON.
    """
    if type(value) in _SIMPLE:
        return _finite(value)
    for convert in (_enum, _as_text, _message, _response, _container, _model, _number):
        found = convert(value)
        if found is not _NO_MATCH:
            return found
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON")


_NO_MATCH: Any = object()
"""Returned by a converter for a value that is not of its kind; None is a valid result."""


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} cannot be written as JSON")
    return value


def _enum(value: Any) -> Any:
    if isinstance(value, Enum):
        return to_plain(value.value)
    for kind in (str, bool, int, float):  # their subclasses
        if isinstance(value, kind):
            return _finite(kind(value))
    return _NO_MATCH


def _as_text(value: Any) -> Any:
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    return str(value) if isinstance(value, _TEXT_TYPES) else _NO_MATCH


def _container(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_field_name(name): to_plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_plain(one) for one in value]
    return _NO_MATCH


def _field_name(name: Any) -> str:
    text = to_plain(name)
    if isinstance(text, str):
        return text
    if isinstance(text, dict | list):
        raise TypeError(f"a {type(name).__name__} cannot be the name of a JSON field")
    return json.dumps(text)


def _model(value: Any) -> Any:
    if isinstance(value, type):
        return _NO_MATCH
    if callable(dump := getattr(value, "model_dump", None)):
        return to_plain(dump(mode="json"))
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return {field.name: to_plain(getattr(value, field.name)) for field in fields}
    return _NO_MATCH


def _number(value: Any) -> Any:
    """Numbers and arrays of numpy and the like."""
    return to_plain(value.tolist()) if callable(getattr(value, "tolist", None)) else _NO_MATCH


# --- messages and responses, recognised by their attributes: no framework is imported --------


def _message(value: Any) -> Any:
    """The text of a LangChain message, with its tool calls."""
    if not (hasattr(value, "content") and hasattr(value, "type") and hasattr(value, "model_dump")):
        return _NO_MATCH
    text = value.text
    text = text() if callable(text) and not isinstance(text, str) else text
    return _with_tool_calls(str(text), getattr(value, "tool_calls", None))


def _response(value: Any) -> Any:
    """The text or parsed object of a response of the SDK or of LlamaIndex."""
    if isinstance(value, type):
        return _NO_MATCH
    if _has_list(value, "choices"):  # a chat completion
        contents = [_chat_message(choice.message) for choice in value.choices]
        return contents[0] if len(contents) == 1 else contents
    if hasattr(value, "output_text") and _has_list(value, "output"):  # the Responses API
        calls = [item for item in value.output if getattr(item, "type", None) == "function_call"]
        parsed = getattr(value, "output_parsed", None)
        return _with_tool_calls(value.output_text if parsed is None else to_plain(parsed), calls)
    if _has_list(getattr(value, "message", None), "blocks"):  # LlamaIndex: ChatResponse
        return _llama_message(value.message)
    if _has_list(value, "blocks") and hasattr(value, "role"):
        return _llama_message(value)
    if hasattr(value, "response") and hasattr(
        value, "source_nodes"
    ):  # LlamaIndex: an engine's response
        return to_plain(value.response)
    if hasattr(value, "current_agent_name") and hasattr(value, "structured_response"):
        made = value.structured_response  # LlamaIndex: AgentOutput
        return to_plain(value.response if made is None else made)
    if hasattr(value, "logprobs") and isinstance(getattr(value, "text", None), str):
        return value.text  # LlamaIndex: CompletionResponse
    return _NO_MATCH


def _has_list(value: Any, name: str) -> bool:
    return isinstance(getattr(value, name, None), list)


def _chat_message(message: Any) -> Any:
    parsed = getattr(message, "parsed", None)
    if parsed is not None:
        return _with_tool_calls(to_plain(parsed), message.tool_calls)
    content = message.content if message.content is not None else message.refusal
    return _with_tool_calls(content, message.tool_calls)


def _llama_message(message: Any) -> Any:
    calls = [block for block in message.blocks if hasattr(block, "tool_kwargs")]
    return _with_tool_calls(message.content, calls or message.additional_kwargs.get("tool_calls"))


def _with_tool_calls(content: Any, calls: Any) -> Any:
    return {"content": content, "tool_calls": to_plain(calls)} if calls else content
