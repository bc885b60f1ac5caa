"""Responses on the wire: reading requests, writing objects and events."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any
from uuid import uuid4

from flextier.sim.base import api_errors, sse
from flextier.sim.base.api_errors import ErrorReply, Rejected
from flextier.sim.base.deltas import argument_deltas, text_deltas
from flextier.sim.model import request
from flextier.sim.model.generate import GeneratedAnswer, reasons
from flextier.sim.model.request import ModelRequest, PromptMessage

PATH = "/v1/responses"

_SUMMARY = "[simulated] Read the question, then answered with its first sentence."
_ROLES = {"developer": "system"}

# Fields of a request that its response repeats, and what they are when they were not given.
_REPEATED: dict[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}


def read(body: dict[str, Any]) -> ModelRequest:
    """The request in a body.

    Raises:
        Rejected: The API would answer 400.
    """
    model = request.model_of(body)
    request.check_shapes(body, objects=("reasoning", "text"), arrays=("tools",), lists=("include",))
    reasoning = body.get("reasoning") or {}
    return ModelRequest(
        endpoint="responses",
        body=body,
        model=model,
        lane=request.lane_of(body),
        stream=body.get("stream") is True,
        turns=tuple(_turns(body)),
        limit=request.limit_of(body, "max_output_tokens"),
        effort=reasoning.get("effort"),
        summary=bool(reasoning.get("summary")),
    )


def _turns(body: dict[str, Any]) -> Iterator[PromptMessage]:
    if body.get("instructions"):
        yield PromptMessage("system", request.text_of(body["instructions"]))
    items = body.get("input")
    if items is None:
        raise Rejected(api_errors.missing("input"))
    if isinstance(items, str):
        yield PromptMessage("user", items)
    elif isinstance(items, list) and items:
        yield from map(_turn, items)
    else:
        problem = "expected a string or a non-empty array."
        raise Rejected(api_errors.invalid("input", problem, "invalid_type"))


def _turn(item: Any) -> PromptMessage:
    if not isinstance(item, dict):
        raise Rejected(api_errors.invalid("input", "expected an array of objects.", "invalid_type"))
    kind = item.get("type", "message")
    if kind == "function_call_output":
        return PromptMessage(
            "tool", request.text_of(item.get("output")), request.media_in(item.get("output"))
        )
    if kind == "message":
        content = item.get("content")
        role = str(item.get("role", "user"))
        return PromptMessage(
            _ROLES.get(role, role), request.text_of(content), request.media_in(content)
        )
    name = str(item.get("name", ""))
    return PromptMessage(
        "assistant", f"{name} {item.get('arguments', '')}".strip(), calls=(name,) if name else ()
    )


def body(ask: ModelRequest, answer: GeneratedAnswer) -> dict[str, Any]:
    """The finished ``response`` object."""
    return finished(begun(ask, answer.tier), items(ask, answer), answer)


def events(ask: ModelRequest, answer: GeneratedAnswer) -> Iterator[bytes]:
    """The stream's events, numbered and named."""
    response, written = begun(ask, answer.tier), items(ask, answer)
    return encoded(streamed(response, written, finished(response, written, answer)))


def encoded(events: Iterable[dict[str, Any]], start: int = 0) -> Iterator[bytes]:
    """Events, numbered from ``start`` on, and named."""
    for position, data in enumerate(events, start):
        yield sse.event({**data, "sequence_number": position}, data["type"])


def error_event(reply: ErrorReply, how: str, ask: ModelRequest, position: int) -> bytes | None:
    """A stream's error, as an ``error`` event or as ``response.failed``."""
    if how == "error":
        error = {"code": reply.code, "message": reply.message, "param": reply.param}
        return sse.event({"type": "error", **error, "sequence_number": position}, "error")
    error = {"code": reply.code, "message": reply.message}
    failed = {**begun(ask, ask.served_tier), "status": "failed", "error": error}
    data = {"type": "response.failed", "response": failed, "sequence_number": position}
    return sse.event(data, "response.failed")


def new_id() -> str:
    """An id for a response."""
    return f"resp_{uuid4().hex}"


def begun(
    ask: ModelRequest, tier: str, name: str | None = None, created: float | None = None
) -> dict[str, Any]:
    """A response that has just begun; None: with a new id, now."""
    repeated = {
        name: default if ask.body.get(name) is None else ask.body[name]
        for name, default in _REPEATED.items()
    }
    return {
        "id": name or new_id(),
        "object": "response",
        "created_at": int(time.time() if created is None else created),
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "model": ask.model,
        "output": [],
        "service_tier": tier,
        "usage": None,
        **repeated,
    }


def finished(
    response: dict[str, Any],
    items: list[dict[str, Any]],
    answer: GeneratedAnswer,
    at: float | None = None,
) -> dict[str, Any]:
    """The same response with its output; ``at``: when it was finished, None: now."""
    cut = answer.finish == "length"
    done = int(time.time() if at is None else at)
    return {
        **response,
        "status": "incomplete" if cut else "completed",
        "completed_at": None if cut else done,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "output": items,
        "usage": answer.tokens.responses_usage(),
    }


def items(ask: ModelRequest, answer: GeneratedAnswer) -> list[dict[str, Any]]:
    """The output items: reasoning where the model reasons, then the text or the calls."""
    written = [_reasoning_item(ask)] if reasons(ask.model) else []
    if not answer.calls:
        written.append(_message_item(answer))
    return written + [
        {
            "type": "function_call",
            "id": f"fc_{uuid4().hex}",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
            "status": "completed",
        }
        for call in answer.calls
    ]


def _message_item(answer: GeneratedAnswer) -> dict[str, Any]:
    return {
        "type": "message",
        "id": f"msg_{uuid4().hex}",
        "status": "incomplete" if answer.finish == "length" else "completed",
        "role": "assistant",
        "content": [_text_part(answer.text)],
    }


def _reasoning_item(ask: ModelRequest) -> dict[str, Any]:
    summary = [{"type": "summary_text", "text": _SUMMARY}] if ask.summary else []
    item: dict[str, Any] = {"type": "reasoning", "id": f"rs_{uuid4().hex}", "summary": summary}
    if "reasoning.encrypted_content" in (ask.body.get("include") or ()):
        item["encrypted_content"] = "c2ltdWxhdGVk"  # "simulated"
    return item


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def streamed(
    response: dict[str, Any], items: list[dict[str, Any]], finished: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """The events of a direct call's stream."""
    yield {"type": "response.created", "response": response}
    yield {"type": "response.in_progress", "response": response}
    yield from outputs(items, finished)


def outputs(items: list[dict[str, Any]], finished: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The events from the first output item to the end."""
    for index, item in enumerate(items):
        blank = {**item, **_BLANK[item["type"]]}
        yield {"type": "response.output_item.added", "output_index": index, "item": blank}
        for data in _WRITERS[item["type"]](item):
            yield {**data, "item_id": item["id"], "output_index": index}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": f"response.{finished['status']}", "response": finished}


def _write_message(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    place = {"content_index": 0}
    text = item["content"][0]["text"]
    yield {"type": "response.content_part.added", **place, "part": _text_part("")}
    for piece in text_deltas(text):
        yield {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", **place, "text": text, "logprobs": []}
    yield {"type": "response.content_part.done", **place, "part": _text_part(text)}


def _write_call(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    arguments = item["arguments"]
    for fragment in argument_deltas(arguments):
        yield {"type": "response.function_call_arguments.delta", "delta": fragment}
    yield {
        "type": "response.function_call_arguments.done",
        "arguments": arguments,
        "name": item["name"],
    }


def _write_reasoning(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    kind = "response.reasoning_summary"
    for index, part in enumerate(item["summary"]):
        place = {"summary_index": index}
        text = part["text"]
        yield {"type": f"{kind}_part.added", **place, "part": {**part, "text": ""}}
        for piece in text_deltas(text):
            yield {"type": f"{kind}_text.delta", **place, "delta": piece}
        yield {"type": f"{kind}_text.done", **place, "text": text}
        yield {"type": f"{kind}_part.done", **place, "part": part}


_WRITERS = {
    "message": _write_message,
    "function_call": _write_call,
    "reasoning": _write_reasoning,
}

# What an item looks like before any of it was written.
_BLANK: dict[str, dict[str, Any]] = {
    "message": {"status": "in_progress", "content": []},
    "function_call": {"status": "in_progress", "arguments": ""},
    "reasoning": {"summary": []},
}
