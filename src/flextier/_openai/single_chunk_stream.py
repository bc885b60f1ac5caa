"""A response that was not streamed, as an event stream, for callers that requested a stream.

Organisations that are not verified may not stream some models. The call is then made without
streaming, and its response returned in as few events as consumers of the stream support.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

SETTINGS_URL = "https://platform.openai.com/settings/organization/general"


class StreamUnverifiedWarning(UserWarning):
    """A stream was delivered in one chunk, because the organisation may not stream this model."""


def as_event_stream(answer: dict[str, Any]) -> bytes:
    """The server-sent events for the JSON of a chat completion or a response, with its usage."""
    if answer.get("object") == "response":
        return b"".join(map(_encode, _number(_response_events(answer))))
    return b"".join(map(_encode, _chat_chunks(answer))) + b"data: [DONE]\n\n"


def _encode(event: dict[str, Any]) -> bytes:
    name = f"event: {event['type']}\n" if "type" in event else ""
    return f"{name}data: {json.dumps(event)}\n\n".encode()


def _chat_chunks(answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The whole output in one chunk, the finish reasons in the next, as in every real stream.

    Further tool calls have chunks of their own: LlamaIndex reads one a chunk.
    """
    shared = {k: v for k, v in answer.items() if k not in ("choices", "usage")}
    shared["object"] = "chat.completion.chunk"
    choices = [{"index": n, **choice} for n, choice in enumerate(answer.get("choices") or ())]
    yield {**shared, "choices": [_delta_chunk(choice) for choice in choices]}
    yield from ({**shared, "choices": [chunk]} for c in choices for chunk in _further_calls(c))
    yield {**shared, "choices": [_finish_chunk(choice) for choice in choices]}
    if answer.get("usage"):
        yield {**shared, "choices": [], "usage": answer["usage"]}


def _delta_chunk(choice: dict[str, Any]) -> dict[str, Any]:
    delta = dict(choice["message"])
    if calls := _calls_of(choice):
        delta["tool_calls"] = [{"index": 0, **calls[0]}]
    others = {k: v for k, v in choice.items() if k != "message"}
    return {**others, "delta": delta, "finish_reason": None}


def _further_calls(choice: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for number, call in enumerate(_calls_of(choice)[1:], start=1):
        delta = {"tool_calls": [{"index": number, **call}]}
        yield {"index": choice["index"], "delta": delta, "finish_reason": None}


def _calls_of(choice: dict[str, Any]) -> list[dict[str, Any]]:
    calls = choice["message"].get("tool_calls")
    return [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []


def _finish_chunk(choice: dict[str, Any]) -> dict[str, Any]:
    # The response is whole: some servers give no reason, and a stream without one is not.
    reason = choice.get("finish_reason") or "stop"
    return {"index": choice["index"], "delta": {}, "finish_reason": reason}


def _number(events: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for sequence, event in enumerate(events):
        yield {**event, "sequence_number": sequence}


def _response_events(answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    created = {**answer, "status": "in_progress", "output": [], "usage": None}
    yield {"type": "response.created", "response": created}
    for index, item in enumerate(answer.get("output") or ()):
        yield from _item_events(index, item)
    status = answer.get("status")
    end = status if status in ("incomplete", "failed") else "completed"
    yield {"type": f"response.{end}", "response": answer}


def _item_events(index: int, item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    at = {"output_index": index, "item_id": item.get("id", "")}
    try:
        empty, parts = _PARTS.get(str(item.get("type")), _no_parts)(at, item)
    except (AttributeError, KeyError, TypeError):  # not as the API has it: a gateway's
        empty, parts = _no_parts(at, item)
    yield {"type": "response.output_item.added", "output_index": index, "item": empty}
    yield from parts
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


Parts = tuple[dict[str, Any], list[dict[str, Any]]]
"""An item as it is at its start, and the events that fill it."""


def _no_parts(at: dict[str, Any], item: dict[str, Any]) -> Parts:
    return item, []


def _message_parts(at: dict[str, Any], item: dict[str, Any]) -> Parts:
    events: list[dict[str, Any]] = []
    for index, part in enumerate(item.get("content") or ()):
        events += _content_events({**at, "content_index": index}, part)
    return {**item, "content": [], "status": "in_progress"}, events


_TEXT_FIELDS = {"output_text": "text", "refusal": "refusal"}


def _content_events(at: dict[str, Any], part: dict[str, Any]) -> list[dict[str, Any]]:
    if part.get("type") not in _TEXT_FIELDS:
        return [
            {"type": "response.content_part.added", **at, "part": part},
            {"type": "response.content_part.done", **at, "part": part},
        ]
    kind = part["type"]
    field = _TEXT_FIELDS[kind]
    logprobs = {} if kind == "refusal" else {"logprobs": part.get("logprobs") or []}
    text = part[field]
    annotations = [
        {
            "type": "response.output_text.annotation.added",
            **at,
            "annotation_index": index,
            "annotation": annotation,
        }
        for index, annotation in enumerate(part.get("annotations") or ())
    ]
    empty = {**part, field: "", **({"annotations": []} if "annotations" in part else {})}
    return [
        {"type": "response.content_part.added", **at, "part": empty},
        {"type": f"response.{kind}.delta", **at, "delta": text, **logprobs},
        *annotations,
        {"type": f"response.{kind}.done", **at, field: text, **logprobs},
        {"type": "response.content_part.done", **at, "part": part},
    ]


def _call_parts(at: dict[str, Any], item: dict[str, Any]) -> Parts:
    return {**item, "arguments": "", "status": "in_progress"}, [
        {"type": "response.function_call_arguments.delta", **at, "delta": item["arguments"]},
        {
            "type": "response.function_call_arguments.done",
            **at,
            "name": item["name"],
            "arguments": item["arguments"],
        },
    ]


def _custom_call_parts(at: dict[str, Any], item: dict[str, Any]) -> Parts:
    return {**item, "input": "", "status": "in_progress"}, [
        {"type": "response.custom_tool_call_input.delta", **at, "delta": item["input"]},
        {"type": "response.custom_tool_call_input.done", **at, "input": item["input"]},
    ]


def _reasoning_parts(at: dict[str, Any], item: dict[str, Any]) -> Parts:
    events: list[dict[str, Any]] = []
    for index, part in enumerate(item.get("summary") or ()):
        where, text = {**at, "summary_index": index}, part["text"]
        events += [
            {
                "type": "response.reasoning_summary_part.added",
                **where,
                "part": {**part, "text": ""},
            },
            {"type": "response.reasoning_summary_text.delta", **where, "delta": text},
            {"type": "response.reasoning_summary_text.done", **where, "text": text},
            {"type": "response.reasoning_summary_part.done", **where, "part": part},
        ]
    return {**item, "summary": []}, events


_PARTS = {
    "message": _message_parts,
    "function_call": _call_parts,
    "custom_tool_call": _custom_call_parts,
    "reasoning": _reasoning_parts,
}
