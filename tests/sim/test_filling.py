"""JSON that fits a schema."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter

from flextier.sim.base.json_filler import fill, fill_freely


class Node(BaseModel):
    """A recursive schema."""

    label: str
    child: Node | None
    children: list[Node]


def test_recursive_schema_ends() -> None:
    """A schema that contains itself is filled to some depth with a value that fits it."""
    assert Node.model_validate(fill(Node.model_json_schema(), "")).child is not None


@pytest.mark.parametrize(
    ("schema", "prompt", "value"),
    [
        ({"type": "integer"}, "add 3.5 and 4", 4),
        ({"type": "number"}, "add 3.5 and 4", 3.5),
        ({"type": "integer", "minimum": 10}, "3 or 12", 12),
        ({"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 5}, "3, 4", 4),
        ({"type": "integer", "maximum": -1}, "5", -1),
        ({"type": "number", "multipleOf": 5}, "3 or 10", 10),
        ({"type": "integer"}, "v3 is no number", 1),
        ({"type": "string"}, "call it 'Zoë's', please", "Zoë's"),
        ({"type": "string"}, "nothing quoted", "simulated value"),
        ({"type": "string"}, "what's 'here'?", "here"),
        ({"type": "string", "format": "date"}, "'x'", "2026-01-01"),
        ({"type": "string", "minLength": 20}, "'x'", "mock-valuexxxxxxxxxx"),
        ({"enum": ["a1", "b2"]}, "take b2, or a1", "b2"),
        ({"enum": ["a1", "b2"]}, "take any", "a1"),
        ({"const": 7}, "8", 7),
        ({"type": "string", "default": "d"}, "'x'", "d"),
        ({"type": "boolean"}, "", True),
        ({"type": "null"}, "", None),
        ({"type": ["null", "integer"]}, "9", 9),
        ({"anyOf": [{"type": "null"}, {"type": "integer"}]}, "9", 9),
        ({"type": "array", "items": {"type": "integer"}}, "1 2 3", [1]),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, "1 2 3", [1, 2]),
        ({"type": "array", "items": {"type": "integer"}, "maxItems": 0}, "1", []),
        ({"prefixItems": [{"type": "integer"}, {"const": "x"}], "type": "array"}, "4", [4, "x"]),
        (
            {
                "$defs": {"A": {"type": "object", "properties": {"x": {"const": 1}}}},
                "allOf": [{"$ref": "#/$defs/A"}, {"properties": {"y": {"const": 2}}}],
            },
            "",
            {"x": 1, "y": 2},
        ),
        ({}, "", "simulated value"),
        (True, "", "simulated value"),
    ],
    ids=str,
)
def test_value_fits_and_comes_from_the_prompt(schema: Any, prompt: str, value: Any) -> None:
    """Numbers, quoted texts and options of the prompt are used where they fit."""
    assert fill(schema, prompt) == value


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"minimum": 2.5}, 2.5),
        ({"exclusiveMinimum": 2}, 2.5),
        ({"minimum": 3, "exclusiveMinimum": 2}, 3),
        ({"minimum": 2, "exclusiveMinimum": 2}, 2.5),
        ({"minimum": 2, "exclusiveMinimum": True}, 2.5),
        ({"exclusiveMinimum": 2, "exclusiveMaximum": 3}, 2.5),
        ({"maximum": -3, "exclusiveMaximum": -4}, -4.5),
        ({"minimum": 3, "multipleOf": 5}, 5),
        ({"maximum": -1, "multipleOf": 4}, -4),
        ({"minimum": 0.25, "maximum": 0.35, "multipleOf": 0.1}, 0.3),
        ({"minimum": 11, "maximum": 14, "multipleOf": 5}, 11),
        ({"type": "integer", "minimum": 2.5}, 3),
        ({"type": "integer", "exclusiveMinimum": 2}, 3),
        ({"type": "integer", "exclusiveMaximum": -2.5}, -3),
        ({"minimum": 3, "examples": [8, 9]}, 8),
    ],
    ids=str,
)
def test_made_up_number_is_within_its_bounds(schema: dict[str, Any], value: float) -> None:
    """Without a number in the prompt: the one nearest to 1 that bounds and multiples allow."""
    assert fill({"type": "number", **schema}, "") == value


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"format": "date-time"}, "2026-01-01T12:00:00Z"),
        ({"format": "unknown"}, "mock-city"),
        ({"maxLength": 4}, "mock"),
        ({"pattern": "^[A-Z]+$", "examples": ["ULM"]}, "ULM"),
    ],
    ids=str,
)
def test_made_up_string_has_format_and_length(schema: dict[str, Any], value: str) -> None:
    """A shaped string takes nothing from the prompt; a pattern alone is not followed."""
    schema = {"type": "object", "properties": {"city": {"type": "string", **schema}}}
    assert fill(schema, "'Paris'") == {"city": value}


types = st.recursive(
    st.sampled_from([int, float, str, bool, type(None)]),
    lambda inner: inner.map(lambda one: list[one]) | inner.map(lambda one: one | None),
    max_leaves=5,
)


@given(kind=types, prompt=st.text(max_size=30))
def test_any_type_accepts_what_its_schema_is_filled_with(kind: Any, prompt: str) -> None:
    """Whatever the prompt, a type's own schema is filled with a value of the type."""
    adapter = TypeAdapter(kind)
    adapter.validate_python(fill(adapter.json_schema(), prompt))


def test_free_json_has_the_quoted_keys() -> None:
    """Without a schema, names in quotes become keys."""
    filled = fill_freely("Use `a`, 'b c' and \"d\".", "t")
    assert filled == {"a": "simulated a", "d": "simulated d"}
    assert fill_freely("none", "t") == {"message": "t"}
