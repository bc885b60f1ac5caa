"""A stream's events, put together: what the API would have returned without streaming."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import Response, ResponseCompletedEvent

from flextier._openai.assembled_stream import AssembledStream
from flextier._openai.single_chunk_stream import as_event_stream
from tests._openai.test_single_chunk_stream import (
    ASK,
    ASK_RESPONSES,
    CHATS,
    RESPONSES,
    Json,
    client,
)


def assembled(events: Any) -> Json:
    """The whole that these events amount to."""
    stream = AssembledStream()
    for event in events:
        stream.add(event)
    body = stream.body()
    assert body is not None
    return body


def chunk(delta: Json | None = None, **choice: Any) -> Any:
    """A chat chunk as the SDK reads it."""
    made = {"index": 0, "delta": delta or {}, "finish_reason": None, **choice}
    return ChatCompletionChunk.construct(id="c", choices=[made], obfuscation="x7f")


def message_of(*deltas: Json) -> Json:
    """The message that these deltas make."""
    whole: Json = assembled(map(chunk, deltas))["choices"][0]["message"]
    return whole


@pytest.mark.parametrize("answer", [a for a in CHATS.values() if a["choices"]])
def test_chat_completions(answer: Json) -> None:
    """What was taken apart is put together as it was."""
    with client(answer) as sdk:
        whole = assembled(sdk.chat.completions.create(stream=True, **ASK))
    assert whole == answer


@pytest.mark.parametrize("answer", RESPONSES.values(), ids=RESPONSES)
def test_responses(answer: Json) -> None:
    """The last event has it all."""
    with client(answer) as sdk:
        whole = assembled(sdk.responses.create(stream=True, **ASK_RESPONSES))
    assert whole == answer


@pytest.mark.parametrize("left_out", [{"output": []}, {}])
def test_a_last_event_without_output(left_out: Json) -> None:
    """Some gateways leave the output out of it: the items before it have it."""
    answer = RESPONSES["everything"]
    with client(answer) as sdk:
        *before, last = sdk.responses.create(stream=True, **ASK_RESPONSES)
    fields = {k: v for k, v in answer.items() if k != "output"}
    response = Response.construct(**fields, **left_out)
    last = ResponseCompletedEvent.construct(type=last.type, response=response)
    assert assembled([*before, last]) == answer


def test_texts_continue() -> None:
    """Content, refusals, arguments, and fields of other servers."""
    message = message_of(
        {"role": "assistant", "content": "", "refusal": None, "reasoning_content": "So"},
        {"role": "assistant", "content": "Bl", "reasoning_content": ", then"},
        {"content": "ue.", "audio": {"id": "a1", "data": "xx"}},
        {"audio": {"data": "yy", "expires_at": 7}},
        {"content": None, "function_call": {"name": "f", "arguments": "{"}},
        {"function_call": {"arguments": "}"}},
    )
    assert message == {
        "role": "assistant",
        "content": "Blue.",
        "refusal": None,
        "reasoning_content": "So, then",
        "audio": {"id": "a1", "data": "xxyy", "expires_at": 7},
        "function_call": {"name": "f", "arguments": "{}"},
    }


def test_tool_calls_are_distinguished_by_their_index() -> None:
    """In any order; ids and types may be repeated, or come empty in later chunks."""
    message = message_of(
        {"tool_calls": [{"index": 1, "id": "b", "type": "function", "function": {"name": "g"}}]},
        {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 1, "id": "b", "function": {"arguments": "[1"}}]},
        {"tool_calls": [{"index": 0, "id": "", "function": {"arguments": "{}"}}]},
        {"tool_calls": [{"index": 1, "id": None, "function": {"arguments": "]"}}]},
    )
    assert message["content"] is None
    assert message["tool_calls"] == [
        {"id": "a", "function": {"name": "f", "arguments": "{}"}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": "[1]"}},
    ]


def test_the_rest_of_a_choice_and_of_the_chunks() -> None:
    """Log probabilities add up; a finish reason may be repeated; padding is left out."""
    token: Json = {"token": "Blue", "logprob": -0.1, "bytes": [66], "top_logprobs": []}
    logprobs = {"content": [token], "refusal": None}
    last = ChatCompletionChunk.construct(choices=[], usage={"total_tokens": 3}, service_tier="flex")
    whole = assembled(
        [
            chunk(logprobs=logprobs),
            chunk(logprobs=logprobs, finish_reason="stop"),
            chunk(logprobs=None, finish_reason="stop"),
            last,
        ]
    )
    assert whole == {
        "id": "c",
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": None},
                "finish_reason": "stop",
                "logprobs": {"content": [token, token], "refusal": None},
            }
        ],
        "usage": {"total_tokens": 3},
        "service_tier": "flex",
    }


def test_the_length_of_all_texts() -> None:
    """It is known while the stream goes on, so that a long one can be let go."""
    stream = AssembledStream()
    for _ in range(100):
        stream.add(chunk({"content": "x" * 10}))
    assert 1000 <= stream.text_length < 1100


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["index", "id", "delta", "tool_calls", "x"]), inner)
    ),
    max_leaves=12,
)


@given(st.lists(JSON, max_size=5), JSON)
def test_odd_chunks(choices: list[Any], response: Any) -> None:
    """Whatever a server sends, putting it together raises nothing."""
    stream = AssembledStream()
    for choice in choices:
        stream.add(ChatCompletionChunk.construct(choices=choice))
        stream.add(ChatCompletionChunk.construct(choices=[choice, choice]))
    if (body := stream.body()) is not None:
        assert as_event_stream(body)
    stream = AssembledStream()
    stream.add(ResponseCompletedEvent.construct(type="response.completed", response=response))
    stream.body()


ITEM = st.fixed_dictionaries(
    {"type": st.sampled_from(["message", "function_call", "custom_tool_call", "reasoning"])},
    optional=dict.fromkeys(("content", "summary", "arguments", "input", "id"), JSON),
)


@given(st.lists(ITEM, max_size=4))
def test_odd_items(output: list[Json]) -> None:
    """Whatever a server puts into its items, a stream is made from them that has them all."""
    made = as_event_stream({"object": "response", "output": output}).decode()
    last = json.loads(made.rstrip().rpartition("data: ")[2])
    assert last["response"]["output"] == output
