"""What the provider of a rehearsal answers: the same short text for the same tokens."""

from __future__ import annotations

from typing import Any

from flextier.sim.base.tokens import Tokens

TOKENS = Tokens(input_tokens=1_200, output_tokens=400, reasoning_tokens=250)
"""What every answer is billed for; a guess at an everyday call."""

_TEXT = "[simulated] Rehearsed."


def chat(model: str, tier: str, number: int, created: int) -> dict[str, Any]:
    """A ``chat.completion`` object."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": _TEXT,
        "refusal": None,
        "annotations": [],
    }
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": created,
        "model": model,
        "service_tier": tier,
        "system_fingerprint": "flextier-rehearsal",
        "choices": [choice],
        "usage": TOKENS.chat_usage(),
    }


def response(model: str, tier: str, number: int, created: int) -> dict[str, Any]:
    """A ``response`` object."""
    text = {"type": "output_text", "text": _TEXT, "annotations": []}
    message: dict[str, Any] = {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [text],
    }
    return {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": created,
        "status": "completed",
        "model": model,
        "service_tier": tier,
        "output": [message],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "error": None,
        "usage": TOKENS.responses_usage(),
    }
