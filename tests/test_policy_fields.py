"""PolicyFields, for type checkers, against the fields of FlexPolicy."""

from __future__ import annotations

import ast
import inspect
import os
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest

from flextier import FlexPolicy, override
from flextier.errors import PolicyError
from flextier.policy import PolicyFields, describe

HINTS = get_type_hints(PolicyFields)

# What a field is read as, and what it is set to in a program.
_ACCEPTED: dict[Any, set[Any]] = {
    tuple[str, ...]: {Sequence[str]},
    Decimal: {Decimal, float, str},
}
_VALUES: dict[Any, Any] = {
    bool: True,
    int: 4,
    float: 40.0,
    str: "40",
    Decimal: Decimal("0.5"),
    timedelta: timedelta(seconds=40),
    type(None): None,
    Sequence[str]: ["flex"],
    Mapping[str, Sequence[str]]: {"gpt-7*": ("batch", "flex")},
    os.PathLike[str]: Path("calls.db"),
}
_BY_FIELD: dict[tuple[str, Any], Any] = {
    ("lane_support", Sequence[str]): ["gpt-7*=batch+flex"],
    ("gateway", str): "http://localhost:8484",
}


def parts(hint: Any) -> set[Any]:
    """The members of a union, without what is annotated to them."""
    if get_origin(hint) is Annotated:
        return parts(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return set().union(*map(parts, get_args(hint)))
    if get_origin(hint) is Literal:
        return {Literal[one] for one in get_args(hint)}
    return {hint}


def test_the_names_are_those_of_the_model() -> None:
    """Each field, in the order of the model."""
    assert list(HINTS) == list(FlexPolicy.model_fields)


@pytest.mark.parametrize("name", HINTS)
def test_the_types_are_those_of_the_model(name: str) -> None:
    """A type accepts what the field is read as, and nothing that the model has no word for."""
    annotation = FlexPolicy.__annotations__[name]
    read = parts(get_type_hints(FlexPolicy, include_extras=False)[name])
    accepted = parts(HINTS[name])
    for one in read:
        assert _ACCEPTED.get(one, {one}) <= accepted, annotation


@pytest.mark.parametrize(
    ("name", "part"),
    [(name, part) for name, hint in HINTS.items() for part in sorted(parts(hint), key=str)],
)
def test_what_checkers_accept_is_accepted(name: str, part: Any) -> None:
    """A value of each type that a field has for checkers makes a policy."""
    value = get_args(part)[0] if get_origin(part) is Literal else _VALUES[part]
    FlexPolicy(**{name: _BY_FIELD.get((name, part), value)})


def test_a_misspelt_field_suggests_the_right_one() -> None:
    """In the constructor, in ``replace``, ``of`` and ``override``."""
    dedline: dict[str, Any] = {"dedline": 60}
    for attempt in (
        lambda: FlexPolicy(**dedline),
        lambda: FlexPolicy().replace(**dedline),
        lambda: FlexPolicy.of(dedline),  # type: ignore[arg-type]  # not checked here
        lambda: override(**dedline).__enter__(),
    ):
        with pytest.raises(PolicyError, match="no field 'dedline': did you mean 'deadline'"):
            attempt()


def test_help_shows_each_field_with_its_default() -> None:
    """The docstring of the class has all fields, in order, as they are."""
    shown = re.findall(r"^    (\w+) = (.+?): \w", inspect.getdoc(FlexPolicy) or "", re.MULTILINE)
    defaults = {name: field.default for name, field in FlexPolicy.model_fields.items()}
    assert {name: ast.literal_eval(text) for name, text in shown} == defaults
    assert [name for name, _ in shown] == list(defaults)


def test_descriptions_can_be_asked_for() -> None:
    """Of every field, in one paragraph each; the JSON schema has them, too."""
    described = describe()
    assert list(described) == list(FlexPolicy.model_fields)
    assert all(re.fullmatch(r"\S.{20,}[.]", text) for text in described.values())
    assert described["deadline"] == "For the whole call, waits included. None: no limit."
    properties = FlexPolicy.model_json_schema()["properties"]
    assert {name: field["description"] for name, field in properties.items()} == described
