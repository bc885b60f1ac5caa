"""What answers become in the output."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

from flextier.bulk.serialize import to_json, to_plain


class Colour(Enum):
    RED = "red"


class Review(BaseModel):
    stars: int
    at: datetime


@dataclass
class Point:
    x: int


AT = datetime(2026, 11, 20, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", "text"),
        (None, None),
        (1, 1),
        (True, True),
        ({"a": (1, 2), 3: {"b"}}, {"a": [1, 2], "3": ["b"]}),
        (Colour.RED, "red"),
        (Decimal("1.50"), "1.50"),
        (AT, AT.isoformat()),
        (b"\x00\xff", "AP8="),
        (Point(3), {"x": 3}),
        (Review(stars=5, at=AT), {"stars": 5, "at": "2026-11-20T00:00:00Z"}),
        ([Review(stars=5, at=AT)], [{"stars": 5, "at": "2026-11-20T00:00:00Z"}]),
        (AIMessage("hello"), "hello"),
        (AIMessage([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]), "ab"),
    ],
)
def test_plain(value: Any, expected: Any) -> None:
    """Texts and messages are text, models are objects, the rest is what JSON has for it."""
    assert to_plain(value) == expected


def test_tool_calls_are_not_lost() -> None:
    """A message that calls tools is an object, with its text beside them."""
    call = {"name": "look_up", "args": {"q": "tide"}, "id": "call_1", "type": "tool_call"}
    assert to_plain(AIMessage("", tool_calls=[call])) == {"content": "", "tool_calls": [call]}


def test_answers_of_the_sdk() -> None:
    """A chat completion is its message's text, or its tool calls."""
    function = {"name": "look_up", "arguments": "{}"}
    message: dict[str, Any] = {"role": "assistant", "content": "hello"}
    assert to_plain(_completion(message)) == "hello"
    message |= {
        "content": None,
        "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
    }
    record = to_plain(_completion(message))
    assert record["tool_calls"][0]["function"] == function


def _completion(message: dict[str, Any]) -> ChatCompletion:
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return ChatCompletion.model_validate(
        {"id": "1", "object": "chat.completion", "created": 1, "model": "o3", "choices": [choice]}
    )


@pytest.mark.parametrize("value", [object(), float("nan"), {"a": float("inf")}, {(1,): 2}, int])
def test_what_cannot_be_json(value: Any) -> None:
    """It is an error, not a guess."""
    with pytest.raises((TypeError, ValueError)):
        to_plain(value)


def test_half_a_surrogate_pair() -> None:
    """It is written as an escape, as UTF-8 has no bytes for it."""
    text = to_json({"a": "\ud83d"})
    assert json.loads(text.encode()) == {"a": "\ud83d"}
