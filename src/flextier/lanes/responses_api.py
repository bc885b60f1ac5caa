"""What Chat Completions has and the Responses API lacks, so that a call cannot move there.

Source: the parameters of both in OpenAI's API reference, and in the SDK.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_CHAT_ONLY = frozenset(
    {
        "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs",
        "modalities", "n", "prediction", "presence_penalty", "seed", "stop", "web_search_options",
    }
)  # fmt: skip

CHAT_NAMES = _CHAT_ONLY | {
    "max_completion_tokens", "max_tokens", "messages", "reasoning_effort", "response_format",
    "verbosity",
}  # fmt: skip
"""The parameters of Chat Completions that the Responses API does not have by that name."""


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
