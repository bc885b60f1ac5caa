"""The whole response of a stream, from its events: the counterpart of ``single_chunk_stream``."""

from __future__ import annotations

from typing import Any

from flextier._openai.response_metadata import fields_of, json_bytes, json_of

_REPEATED = frozenset({"finish_reason", "id", "index", "role", "type"})
"""Fields of a chunk that a later one may repeat; other texts continue."""
_NOT_KEPT = frozenset({"choices", "obfuscation", "object"})


class AssembledStream:
    """The response that the events so far amount to."""

    __slots__ = ("_choices", "_head", "_response", "text_length")

    def __init__(self) -> None:
        self.text_length = 0
        """The length of all texts in the chunks so far."""
        self._head: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}
        self._response: Any = None

    def add(self, event: Any) -> None:
        """Add a chat chunk, or an event of the Responses API."""
        if getattr(event, "choices", None) is None:
            self._response = getattr(event, "response", self._response)
            return
        chunk = fields_of(event)
        for choice in chunk["choices"]:
            self._merge(self._choices.setdefault(choice.get("index") or 0, {}), choice)
        self._head |= {k: v for k, v in chunk.items() if k not in _NOT_KEPT and v is not None}

    def body(self) -> bytes:
        """The response as the API returns it without streaming."""
        if self._response is not None:
            return json_of(self._response)
        choices = [_choice(self._choices[index]) for index in sorted(self._choices)]
        return json_bytes({**self._head, "object": "chat.completion", "choices": choices})

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
            items = old if isinstance(old, list) and not isinstance(old, _Text) else []
            for item in new:
                self._add_item(items, item)
            return items
        if not isinstance(new, str):
            return new
        self.text_length += len(new)
        text = old if isinstance(old, _Text) else _Text()
        text.append(new)
        return text

    def _add_item(self, items: list[Any], item: Any) -> None:
        """Add an item to a list, or continue the one with its ``index``."""
        index = item.get("index") if isinstance(item, dict) else None
        for position, old in enumerate(items):
            if index is not None and isinstance(old, dict) and old.get("index") == index:
                items[position] = self._merge(old, item)
                return
        items.append(self._merge(None, item))


class _Text(list[str]):
    """A text in pieces, which are joined only once."""


def _joined(value: Any) -> Any:
    if isinstance(value, _Text):
        return "".join(value)
    if isinstance(value, dict):
        return {name: _joined(item) for name, item in value.items()}
    return [_joined(item) for item in value] if isinstance(value, list) else value


def _choice(merged: dict[str, Any]) -> dict[str, Any]:
    choice = _joined(merged)
    message = {"role": "assistant", "content": None, **(choice.pop("delta", None) or {})}
    if calls := message.get("tool_calls"):
        calls.sort(key=lambda call: call.pop("index", None) or 0)
    return {**choice, "message": message}
