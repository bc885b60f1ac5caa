"""What a runnable answers, as JSON: texts stay texts, tool calls stay with their message."""

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

_SIMPLE = (str, int, float, bool, type(None))
_AS_TEXT = (date, datetime, time, timedelta, Decimal, UUID, PurePath)


def dumped(value: Any) -> str:
    """Plain values as JSON text that can be written as UTF-8."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair: only an escape can say it
        text = json.dumps(value, allow_nan=False)
    return text


def plain(value: Any) -> Any:
    """An answer as plain JSON types.

    Messages and answers of LangChain, LlamaIndex and the SDK become their text, or, with tool
    calls, ``{"content": ..., "tool_calls": [...]}``; pydantic models and dataclasses objects.

    Raises:
        TypeError, ValueError: it cannot be JSON.
    """
    if type(value) in _SIMPLE:
        return _finite(value)
    for read in (_enum, _as_text, _message, _answer, _container, _model, _number):
        found = read(value)
        if found is not _NONE:
            return found
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON")


_NONE: Any = object()
"""Not of this kind; None is an answer."""


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} cannot be written as JSON")
    return value


def _enum(value: Any) -> Any:
    if isinstance(value, Enum):
        return plain(value.value)
    for kind in (str, bool, int, float):  # their subclasses
        if isinstance(value, kind):
            return _finite(kind(value))
    return _NONE


def _as_text(value: Any) -> Any:
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    return str(value) if isinstance(value, _AS_TEXT) else _NONE


def _container(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_name(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in value]
    return _NONE


def _name(name: Any) -> str:
    plainly = plain(name)
    if isinstance(plainly, str):
        return plainly
    if isinstance(plainly, dict | list):
        raise TypeError(f"a {type(name).__name__} cannot be the name of a JSON field")
    return json.dumps(plainly)


def _model(value: Any) -> Any:
    if isinstance(value, type):
        return _NONE
    if callable(dump := getattr(value, "model_dump", None)):
        return plain(dump(mode="json"))
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return {field.name: plain(getattr(value, field.name)) for field in fields}
    return _NONE


def _number(value: Any) -> Any:
    """Numbers and arrays of numpy and the like."""
    return plain(value.tolist()) if callable(getattr(value, "tolist", None)) else _NONE


# --- by their looks, as neither framework need be installed ----------------------------------


def _message(value: Any) -> Any:
    """A message of LangChain: it has a type and content, and is a model."""
    if not (hasattr(value, "content") and hasattr(value, "type") and hasattr(value, "model_dump")):
        return _NONE
    return _with_calls(_text_of(value), getattr(value, "tool_calls", None))


def _answer(value: Any) -> Any:
    """An answer of the SDK or of LlamaIndex."""
    if isinstance(value, type):
        return _NONE
    if _listed(value, "choices"):  # a chat completion
        answers = [_chat_message(choice.message) for choice in value.choices]
        return answers[0] if len(answers) == 1 else answers
    if hasattr(value, "output_text") and _listed(value, "output"):  # of the Responses API
        calls = [item for item in value.output if getattr(item, "type", None) == "function_call"]
        parsed = getattr(value, "output_parsed", None)
        return _with_calls(value.output_text if parsed is None else plain(parsed), calls)
    if _listed(getattr(value, "message", None), "blocks"):  # LlamaIndex: ChatResponse
        return _llama_message(value.message)
    if _listed(value, "blocks") and hasattr(value, "role"):
        return _llama_message(value)
    if hasattr(value, "response") and hasattr(value, "source_nodes"):  # of an engine
        return plain(value.response)
    if hasattr(value, "logprobs") and isinstance(getattr(value, "text", None), str):
        return value.text  # LlamaIndex: CompletionResponse
    return _NONE


def _listed(value: Any, name: str) -> bool:
    return isinstance(getattr(value, name, None), list)


def _chat_message(message: Any) -> Any:
    parsed = getattr(message, "parsed", None)
    if parsed is not None:
        return _with_calls(plain(parsed), message.tool_calls)
    content = message.content if message.content is not None else message.refusal
    return _with_calls(content, message.tool_calls)


def _llama_message(message: Any) -> Any:
    calls = [block for block in message.blocks if hasattr(block, "tool_kwargs")]
    return _with_calls(message.content, calls or message.additional_kwargs.get("tool_calls"))


def _text_of(message: Any) -> str:
    text = message.text
    return str(text() if callable(text) and not isinstance(text, str) else text)


def _with_calls(content: Any, calls: Any) -> Any:
    return {"content": content, "tool_calls": plain(calls)} if calls else content
