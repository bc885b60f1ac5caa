"""Usage: the tokens of an answer, whichever API gave it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseUsage

from flextier.costs import Usage

CHAT: dict[str, Any] = {
    "prompt_tokens": 100,
    "completion_tokens": 50,
    "total_tokens": 150,
    "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 40},
}
RESPONSES = {
    "input_tokens": 100,
    "output_tokens": 50,
    "total_tokens": 150,
    "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
    "output_tokens_details": {"reasoning_tokens": 40},
}
ALL = Usage(100, 50, cached_input_tokens=60, cache_write_tokens=30, reasoning_tokens=40)


@pytest.mark.parametrize(
    "usage", [CompletionUsage.model_validate(CHAT), ResponseUsage.model_validate(RESPONSES)]
)
def test_both_apis_give_the_same_usage(usage: Any) -> None:
    """Every count has its place, in Chat Completions and in Responses."""
    assert Usage.from_openai(usage) == ALL


def test_no_usage_is_not_zero() -> None:
    """An answer without usage has unknown cost, not zero."""
    assert Usage.from_openai(None) is None


@pytest.mark.parametrize(
    "usage",
    [
        CompletionUsage(prompt_tokens=7, completion_tokens=8, total_tokens=15),
        CompletionUsage.construct(
            prompt_tokens=7,
            completion_tokens=8,
            prompt_tokens_details=None,
            completion_tokens_details=None,
        ),
        ResponseUsage.construct(input_tokens=7, output_tokens=8),
        SimpleNamespace(
            input_tokens=7,
            output_tokens=8,
            input_tokens_details=SimpleNamespace(cached_tokens=None),
            output_tokens_details=SimpleNamespace(),
        ),
    ],
    ids=repr,
)
def test_details_may_be_missing(usage: Any) -> None:
    """Other vendors leave them out, or null: no such tokens."""
    assert Usage.from_openai(usage) == Usage(7, 8)


def test_the_last_chunk_of_a_stream() -> None:
    """A chunk's usage is read as a completion's."""
    chunk = ChatCompletionChunk.model_validate(
        {
            "id": "c",
            "created": 1,
            "model": "o3",
            "object": "chat.completion.chunk",
            "choices": [],
            "usage": CHAT,
        }
    )
    assert Usage.from_openai(chunk.usage) == ALL


@pytest.mark.parametrize("count", [None, "7", 1.5, float("inf"), True, []], ids=repr)
@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens"])
def test_a_count_that_is_none(name: str, count: Any) -> None:
    """A count that is no whole number is unknown: not zero, and no error."""
    assert Usage.from_openai(CompletionUsage.construct(**{**CHAT, name: count})) is None


@pytest.mark.parametrize("usage", [{}, [], "much", CompletionUsage.construct()], ids=repr)
def test_a_foreign_usage_is_unknown(usage: Any) -> None:
    """Nothing in it is not nothing billed."""
    assert Usage.from_openai(usage) is None
