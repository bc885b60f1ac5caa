"""Chat Completions on the wire: reading requests, writing objects and chunks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from flextier.sim.base import api_errors, sse
from flextier.sim.base.api_errors import ErrorReply, Rejected
from flextier.sim.base.deltas import argument_deltas, text_deltas
from flextier.sim.model import request
from flextier.sim.model.generate import GeneratedAnswer
from flextier.sim.model.request import ModelRequest, PromptMessage

PATH = "/v1/chat/completions"
MOST_CHOICES = 128
FINGERPRINT = "flextier-simulator"

_ROLES = {"function": "tool", "developer": "system"}


def read(body: dict[str, Any]) -> ModelRequest:
    """The request in a body.

    Raises:
        Rejected: The API would answer 400.
    """
    for name in ("background", "background_options"):
        if name in body:
            raise Rejected(api_errors.unknown_parameter(name))
    model = request.model_of(body)
    request.check_shapes(
        body, objects=("response_format", "stream_options"), arrays=("tools", "functions")
    )
    turns = tuple(_turn(message, i) for i, message in enumerate(_messages(body)))
    _check_json_mode(body, turns)
    return ModelRequest(
        endpoint="chat",
        body=body,
        model=model,
        lane=request.lane_of(body),
        stream=body.get("stream") is True,
        turns=turns,
        limit=request.limit_of(body, "max_completion_tokens", "max_tokens"),
        effort=body.get("reasoning_effort"),
        stop=_stops(body.get("stop")),
        choices=request.limit_of(body, "n", most=MOST_CHOICES) or 1,
    )


def _messages(body: dict[str, Any]) -> list[Any]:
    messages = body.get("messages")
    if messages is None:
        raise Rejected(api_errors.missing("messages"))
    if not isinstance(messages, list):
        raise Rejected(api_errors.invalid("messages", "expected an array.", "invalid_type"))
    if not messages:
        raise Rejected(
            api_errors.invalid("messages", "expected at least one message.", "empty_array")
        )
    return messages


def _turn(message: Any, position: int) -> PromptMessage:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        where = f"messages[{position}]"
        raise Rejected(api_errors.invalid(where, "expected an object with a role.", "invalid_type"))
    request.check_shapes(message, objects=("function_call",), arrays=("tool_calls",))
    content = message.get("content")
    calls = [call.get("function") for call in message.get("tool_calls") or ()]
    calls += filter(None, [message.get("function_call")])
    texts = [request.text_of(content), *(str(call or "") for call in calls)]
    role: str = message["role"]
    return PromptMessage(
        _ROLES.get(role, role),
        "\n".join(filter(None, texts)),
        request.media_in(content),
        tuple(str(call.get("name")) for call in calls if isinstance(call, dict)),
    )


def _check_json_mode(body: dict[str, Any], turns: tuple[PromptMessage, ...]) -> None:
    form = body.get("response_format")
    wanted = isinstance(form, dict) and form.get("type") == "json_object"
    if wanted and not any("json" in turn.text.lower() for turn in turns):
        problem = "must contain the word 'json' to use 'response_format' of type 'json_object'."
        raise Rejected(api_errors.invalid("messages", problem))


def _stops(value: Any) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else value or []
    if not isinstance(stops, list) or not all(isinstance(stop, str) and stop for stop in stops):
        raise Rejected(api_errors.invalid("stop", "expected a string or an array of strings."))
    return tuple(stops)


def body(ask: ModelRequest, answer: GeneratedAnswer) -> dict[str, Any]:
    """The ``chat.completion`` object."""
    return {
        **_head("chat.completion", ask, answer),
        "choices": [_choice(ask, answer, index) for index in range(ask.choices)],
        "usage": answer.tokens.chat_usage(),
    }


def events(ask: ModelRequest, answer: GeneratedAnswer) -> Iterator[bytes]:
    """The stream's chunks and its ``[DONE]``."""
    head = _head("chat.completion.chunk", ask, answer)
    options = ask.body.get("stream_options") or {}
    usage = {"usage": None} if options.get("include_usage") else {}
    for index in range(ask.choices):
        for delta, finish in _deltas(ask, answer):
            logprobs = _logprobs(ask, delta.get("content") or "")
            choice = _indexed(index, delta=delta, logprobs=logprobs, finish_reason=finish)
            yield sse.event({**head, "choices": [choice], **usage})
    if usage:
        yield sse.event({**head, "choices": [], "usage": answer.tokens.chat_usage()})
    yield sse.DONE


def error_event(reply: ErrorReply, how: str, ask: ModelRequest, position: int) -> bytes | None:
    """A stream's error; None where the endpoint has no such ``how``."""
    return sse.event({"error": reply.error()}) if how == "error" else None


def _head(kind: str, ask: ModelRequest, answer: GeneratedAnswer) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{uuid4().hex[:24]}",
        "object": kind,
        "created": int(time.time()),
        "model": ask.model,
        "service_tier": answer.tier,
        "system_fingerprint": FINGERPRINT,
    }


def _choice(ask: ModelRequest, answer: GeneratedAnswer, index: int) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if answer.calls else answer.text,
        "refusal": None,
        "annotations": [],
    }
    if answer.calls and ask.legacy:
        (call,) = answer.calls
        message["function_call"] = _function(call.name, call.arguments)
    elif answer.calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": _function(call.name, call.arguments)}
            for call in answer.calls
        ]
    logprobs = _logprobs(ask, answer.text)
    return _indexed(index, message=message, logprobs=logprobs, finish_reason=_finish(ask, answer))


def _finish(ask: ModelRequest, answer: GeneratedAnswer) -> str:
    return "function_call" if answer.calls and ask.legacy else answer.finish


def _deltas(
    ask: ModelRequest, answer: GeneratedAnswer
) -> Iterator[tuple[dict[str, Any], str | None]]:
    """(delta, finish reason) of every chunk of one choice."""
    yield {"role": "assistant", "content": None if answer.calls else "", "refusal": None}, None
    if not answer.calls:
        for piece in text_deltas(answer.text):
            yield {"content": piece}, None
    for position, call in enumerate(answer.calls):
        about: dict[str, Any] = {"id": call.id, "type": "function"}
        pieces = [{"arguments": fragment} for fragment in argument_deltas(call.arguments)]
        for function in (_function(call.name, ""), *pieces):
            tool_call = _indexed(position, **about, function=function)
            yield {"function_call": function} if ask.legacy else {"tool_calls": [tool_call]}, None
            about = {}
    yield {}, _finish(ask, answer)


def _indexed(index: int, **fields: Any) -> dict[str, Any]:
    return {"index": index, **fields}


def _function(name: str, arguments: str) -> dict[str, str]:
    return {"name": name, "arguments": arguments}


def _logprobs(ask: ModelRequest, text: str) -> dict[str, Any] | None:
    """A certain token for every word: the shape of log probabilities, not their meaning."""
    if not ask.body.get("logprobs"):
        return None
    tokens = [
        {"token": piece, "logprob": 0.0, "bytes": list(piece.encode()), "top_logprobs": []}
        for piece in text_deltas(text)
    ]
    return {"content": tokens, "refusal": None}
