"""What Chat Completions has and the Responses API lacks, so that a call cannot move there.

Source: the parameters of both in OpenAI's API reference, and in the SDK.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

RESPONSES_NAMES: dict[str, str | None] = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning",
    "response_format": "text",
    "verbosity": "text",
    "audio": None,
    "frequency_penalty": None,
    "function_call": None,
    "functions": None,
    "logit_bias": None,
    "logprobs": None,
    "modalities": None,
    "n": None,
    "prediction": None,
    "presence_penalty": None,
    "seed": None,
    "stop": None,
    "web_search_options": None,
}
"""The parameters of Chat Completions that the Responses API does not have by that name, each with
its name there; None: the Responses API has no such parameter."""

_CHAT_ONLY = frozenset(name for name, new in RESPONSES_NAMES.items() if new is None)


def chat_only(body: Mapping[str, Any]) -> list[str]:
    """What the body of a chat completion has that the Responses API lacks, in words; sorted."""
    found = {name for name in _CHAT_ONLY.intersection(body) if body[name] is not None}
    choice = body.get("tool_choice")
    if isinstance(choice, Mapping) and "allowed_tools" in choice:
        found.add("tool_choice.allowed_tools")
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, Mapping):
            found.update(_chat_only_parts(message))
    return sorted(found)


def _chat_only_parts(message: Mapping[str, Any]) -> Iterator[str]:
    role = message.get("role")
    if role == "function" or message.get("function_call"):
        yield "messages of functions"
    # The names of assistants are not kept: LangGraph sets them on every answer of an agent.
    if role not in ("assistant", "function", "tool") and message.get("name"):
        yield "names of messages"
    if message.get("audio"):
        yield "audio in messages"
    content = message.get("content")
    if isinstance(content, list) and any(
        isinstance(part, Mapping) and part.get("type") == "input_audio" for part in content
    ):
        yield "audio in messages"
