"""The whole response of a stream, from its events: the counterpart of ``single_chunk_stream``."""

from __future__ import annotations

from typing import Any

from openai import BaseModel

from flextier._openai.response_json import fields_of

_REPEATED = frozenset({"finish_reason", "id", "index", "role", "type"})
"""Fields of a chunk that a later one may repeat; other texts continue."""
_NOT_KEPT = frozenset({"choices", "obfuscation", "object"})


class AssembledStream:
    """The response that the events so far amount to."""

    __slots__ = ("_choices", "_head", "_items", "_response", "text_length")

    def __init__(self) -> None:
        self.text_length = 0
        """The length of all texts in the chunks so far."""
        self._head: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}
        self._items: list[Any] = []
        self._response: Any = None

    def add(self, event: Any) -> None:
        """Add a chat chunk, or an event of the Responses API."""
        if getattr(event, "choices", None) is None:
            self._response = getattr(event, "response", self._response)
            if getattr(event, "type", None) == "response.output_item.done":
                self._items.append(getattr(event, "item", None))
            return
        chunk = fields_of(event)
        choices = chunk["choices"]
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                self._merge(self._choices.setdefault(_index_of(choice), {}), choice)
        self._head |= {k: v for k, v in chunk.items() if k not in _NOT_KEPT and v is not None}

    def body(self) -> dict[str, Any] | None:
        """The response as the API returns it without streaming; None: there was none."""
        if not self._choices:
            return self._whole_response() if isinstance(self._response, BaseModel) else None
        choices = [_choice(index, self._choices[index]) for index in sorted(self._choices)]
        return {**self._head, "object": "chat.completion", "choices": choices}

    def _whole_response(self) -> dict[str, Any]:
        response = fields_of(self._response)
        if not response.get("output"):  # some gateways leave it out of the last event
            items = [fields_of(item) for item in self._items if isinstance(item, BaseModel)]
            response["output"] = items
        return response

    def _merge(self, old: Any, new: Any) -> Any:
        """A value that a later chunk continues."""
        if isinstance(new, dict):
            merged = old if isinstance(old, dict) else {}
            for name, value in new.items():
                is_new = value is not None and (name not in _REPEATED or value != "")
                if is_new or name not in merged:
                    before = None if name in _REPEATED else merged.get(name)
                    merged[name] = self._merge(before, value)
            return merged
        if isinstance(new, list):
            items = old if isinstance(old, list) and not isinstance(old, _Pieces) else []
            for item in new:
                self._add_item(items, item)
            return items
        if not isinstance(new, str):
            return new
        self.text_length += len(new)
        pieces = old if isinstance(old, _Pieces) else _Pieces()
        pieces.append(new)
        return pieces

    def _add_item(self, items: list[Any], item: Any) -> None:
        """Add an item to a list, or continue the one with its ``index``."""
        if isinstance(item, dict) and item.get("index") is not None:
            for old in items:
                if isinstance(old, dict) and old.get("index") == item["index"]:
                    self._merge(old, item)
                    return
        items.append(self._merge(None, item))


class _Pieces(list[str]):
    """A text in pieces, which are joined only once."""


def _joined(value: Any) -> Any:
    if isinstance(value, _Pieces):
        return "".join(value)
    if isinstance(value, dict):
        return {name: _joined(item) for name, item in value.items()}
    return [_joined(item) for item in value] if isinstance(value, list) else value


def _index_of(item: Any) -> int:
    index = item.get("index") if isinstance(item, dict) else None
    return index if type(index) is int else 0


def _choice(index: int, merged: dict[str, Any]) -> dict[str, Any]:
    choice = _joined(merged)
    delta = choice.pop("delta", None)
    message = {"role": "assistant", "content": None, **(delta if isinstance(delta, dict) else {})}
    if isinstance(calls := message.get("tool_calls"), list):
        message["tool_calls"] = [_without_index(call) for call in sorted(calls, key=_index_of)]
    return {**choice, "index": index, "message": message}


def _without_index(call: Any) -> Any:
    return {k: v for k, v in call.items() if k != "index"} if isinstance(call, dict) else call
