"""JSON that fits a schema, with values taken from the prompt where it offers some."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from flextier.sim.base.example_values import example_value
from flextier.sim.base.sentences import first_sentence

Schema = dict[str, Any]

# Below this depth only what a schema requires is filled in, so that recursive schemas end.
DEEP = 4

_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w])")
_QUOTED = re.compile(r"(?<!\w)'((?:[^'\n]|\b'\b)+)'(?!\w)|\"([^\"\n]+)\"|“([^”\n]+)”")
_KEY = re.compile(r"['\"`]([A-Za-z_]\w*)['\"`]")
_PROSE = frozenset({"summary", "answer", "text", "description", "explanation", "reason"})
_SHAPING = frozenset({"format", "pattern", "minLength", "maxLength"})


def fill(schema: Any, prompt: str) -> Any:
    """A value that fits the schema: numbers, quoted texts and options named in the prompt.

    What the prompt does not offer is made up, the same on every run.
    """
    root = schema if isinstance(schema, dict) else {}
    return _Filler(root, prompt).value(root, "value", 0)


def fill_freely(prompt: str, text: str) -> dict[str, str]:
    """Any JSON object: with the keys that the prompt puts in quotes, or one message."""
    keys = dict.fromkeys(_KEY.findall(prompt))
    return {key: f"simulated {key}" for key in keys} or {"message": text}


class _Filler:
    """One walk through a schema; every number and quoted text of the prompt is used once."""

    def __init__(self, root: Schema, prompt: str) -> None:
        self._root = root
        self._prompt = prompt
        self._numbers = [float(found) for found in _NUMBER.findall(prompt)]
        self._quoted: Iterator[str] = iter(["".join(found) for found in _QUOTED.findall(prompt)])
        self._kinds: dict[str, Callable[[Schema, str, int], Any]] = {
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "number": self._number,
            "integer": self._number,
        }

    def value(self, schema: Schema, name: str, depth: int) -> Any:
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        if "default" in schema:
            return schema["enum"][0] if schema.get("enum") else schema["default"]
        if schema.get("enum"):
            return self._option(schema["enum"])
        choice = schema.get("anyOf") or schema.get("oneOf")
        if choice:
            return self.value(_chosen(choice, depth), name, depth + 1)
        if schema.get("allOf"):
            return self.value(self._merged(schema), name, depth + 1)
        kind = _kind(schema)
        fill_kind = self._kinds.get(kind)
        return fill_kind(schema, name, depth) if fill_kind else example_value(schema, kind, name)

    def _resolved(self, schema: Schema) -> Schema:
        seen = set()
        while isinstance(ref := schema.get("$ref"), str) and ref not in seen:
            seen.add(ref)
            schema = _at(self._root, ref)
        return schema

    def _merged(self, schema: Schema) -> Schema:
        merged = {key: value for key, value in schema.items() if key != "allOf"}
        for part in map(self._resolved, schema["allOf"]):
            properties = {**merged.get("properties", {}), **part.get("properties", {})}
            merged = {**part, **merged}
            if properties:
                merged["properties"] = properties
        return merged

    def _option(self, options: list[Any]) -> Any:
        """The option that the prompt names first, else the first one."""
        places = {str(option): self._prompt.find(str(option)) for option in options}
        named = [option for option in options if places[str(option)] >= 0]
        return min(named, key=lambda option: places[str(option)]) if named else options[0]

    def _object(self, schema: Schema, name: str, depth: int) -> dict[str, Any]:
        properties = schema.get("properties") or {}
        wanted = schema.get("required", []) if depth > DEEP else properties
        return {key: self.value(properties.get(key, {}), key, depth + 1) for key in wanted}

    def _array(self, schema: Schema, name: str, depth: int) -> list[Any]:
        least = int(schema.get("minItems", 0))
        length = min(max(least, depth <= DEEP), int(schema.get("maxItems", least + 1)))
        places = schema.get("prefixItems") or [schema.get("items") or {}] * length
        return [self.value(place, name, depth + 1) for place in places]

    def _string(self, schema: Schema, name: str, depth: int) -> str:
        if _SHAPING & schema.keys():
            return str(example_value(schema, "string", name))
        if name in _PROSE:
            return f"simulated {name}: {first_sentence(self._prompt)}"
        return next(self._quoted, f"simulated {name}")

    def _number(self, schema: Schema, name: str, depth: int) -> float:
        for number in self._numbers:
            if _fits(number, schema):
                self._numbers.remove(number)
                return int(number) if _kind(schema) == "integer" else number
        made_up: float = example_value(schema, _kind(schema), name)
        return made_up


def _kind(schema: Schema) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    return kind or ("object" if "properties" in schema else "string")


def _chosen(options: list[Schema], depth: int) -> Schema:
    """The first option that is not null; null, if there is such an option, once it gets deep."""
    nulls = [option for option in options if option.get("type") == "null"]
    others = [option for option in options if option not in nulls]
    return (nulls + others if depth > DEEP else others + nulls)[0]


def _at(root: Schema, ref: str) -> Schema:
    """What a local reference such as ``#/$defs/Name`` points at; anything, if at nothing."""
    node: Any = root
    for part in ref.removeprefix("#").strip("/").split("/"):
        if part:
            node = node.get(part.replace("~1", "/").replace("~0", "~"), {})
    return node if isinstance(node, dict) else {}


def _fits(number: float, schema: Schema) -> bool:
    return (
        (_kind(schema) != "integer" or number.is_integer())
        and schema.get("minimum", number) <= number <= schema.get("maximum", number)
        and schema.get("exclusiveMinimum", number - 1) < number
        and number < schema.get("exclusiveMaximum", number + 1)
        and number % schema.get("multipleOf", 1 if number.is_integer() else number) == 0
    )
