"""The JSON schema that stands in a prompt, for JSON mode, which has no other place for one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

_DECODER = json.JSONDecoder(strict=False)
_BRACE = re.compile(r"\{")


def schema_in(texts: Iterable[str]) -> dict[str, Any] | None:
    """The JSON schema of an object in these texts: of several the last, where one has a title of
    those, for frameworks add examples, which have none."""
    found: dict[str, Any] | None = None
    for text in texts:
        for value, _, _ in _objects(text) if '"properties"' in text else ():
            is_schema = isinstance(value.get("properties"), dict)
            if is_schema and (found is None or "title" in value or "title" not in found):
                found = value
    return found


def without_objects(text: str) -> str:
    """The text without the JSON objects in it."""
    pieces, end = [], 0
    for _, start, after in _objects(text):
        pieces.append(text[end:start])
        end = after
    return "".join([*pieces, text[end:]])


def _objects(text: str) -> Iterator[tuple[dict[str, Any], int, int]]:
    """Each JSON object that is not inside another one, its start and its end."""
    end = 0
    for brace in _BRACE.finditer(text):
        if brace.start() < end:
            continue
        try:
            value, end = _DECODER.raw_decode(text, brace.start())
        except (RecursionError, ValueError):
            continue
        yield value, brace.start(), end
