"""The bodies and objects that the SDK makes, with less work, on the resources of our clients.

The SDK walks every request body along its parameter types (0.2 ms for one message, 2 ms for fifteen
with six tools) to apply aliases and formats. No parameter of the two endpoints has any, so a body
of plain JSON is copied as it is. The SDK also builds answers field by field without a check, and an
answer of exactly the stated types comes out the same, and sooner, from pydantic's own validation.
Everything else takes the SDK's way. No module of the SDK is changed.
"""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable
from functools import cache, partial
from types import CellType, FunctionType, MethodType, NoneType
from typing import Any, get_args, get_origin

import openai
from pydantic import BaseModel, ValidationError

from flextier._openai.private_names import (
    FinalRequestOptions,
    async_maybe_transform,
    is_given,
    maybe_transform,
    strip_not_given,
)
from flextier.variables import LEAN, is_false, setting

LOG = logging.getLogger("flextier")

CHECKED = ((2, 40), (2, 54)), ((3, 0), (3, 57))
"""The first and the last SDK version of each major with which bodies and objects are the same."""

_ROUTED = ("create", "parse")
_ANSWERS = ("ChatCompletion", "ChatCompletionChunk", "Response")
_SCALARS = frozenset({str, int, float, bool, NoneType})
_LEFT_OUT = frozenset({openai.Omit, openai.NotGiven})


@cache
def is_lean() -> bool:
    """Whether the installed SDK is a checked one, and ``FLEXTIER_LEAN`` does not switch it off."""
    if is_false(setting(LEAN)):
        return False
    version = tuple(map(int, openai.__version__.split(".")[:2]))
    known = any(first <= version <= last for first, last in CHECKED)
    if not known:
        LOG.debug("openai %s is not known: its own way is taken", openai.__version__)
    return known


# --- request bodies -------------------------------------------------------------------------------


class _NotPlainError(Exception):
    """A body has more than plain JSON."""


def with_plain_bodies(resource: Any) -> Any:
    """A resource of the SDK (``client.responses``), whose calls copy bodies of plain JSON."""
    if is_lean():
        sdk: Any = type(resource)
        resource.__class__ = _plain_class(sdk)
        if isinstance(post := resource._post, MethodType):
            resource._post = MethodType(_plain_post(post.__func__), post.__self__)
    return resource


@cache
def _plain_class(resource: Any) -> Any:
    methods = {name: _PlainMethod(resource, name) for name in _ROUTED}
    names = {"__module__": resource.__module__, "__qualname__": resource.__qualname__}
    return type(resource.__name__, (resource,), {**methods, **names})


@cache
def _plain_post(post: Any) -> Any:
    return _plain_method(post)


class _PlainMethod:
    """A method of the SDK with another walk; what replaces the SDK's own later is respected.

    Telemetry and test fakes replace methods of the SDK's classes.
    """

    def __init__(self, resource: type, name: str) -> None:
        self._own, self._name = vars(resource), name
        self._original = self._own.get(name)
        self._plain = _plain_method(self._original)

    def __get__(self, resource: Any, owner: Any = None) -> Any:
        current: Any = self._own.get(self._name)
        chosen = self._plain if current is self._original else current
        return chosen.__get__(resource, owner)


def _plain_method(method: Any) -> Any:
    """The same function, but for what it finds under the names of the walk and the options."""
    inner = inspect.unwrap(method)
    if not (_is_of_sdk(method) and _is_of_sdk(inner)):
        return method
    names = {
        "maybe_transform": plain_or_transform,
        "async_maybe_transform": plain_or_atransform,
        "FinalRequestOptions": RequestOptions,
    }
    copied = _copy(inner, {**inner.__globals__, **names}, inner.__closure__)
    if inner is method:
        return copied
    cells = [CellType(copied) if c.cell_contents is inner else c for c in method.__closure__]
    wrapper = _copy(method, method.__globals__, tuple(cells))
    wrapper.__wrapped__ = copied
    return wrapper


def _is_of_sdk(method: Any) -> bool:
    return isinstance(method, FunctionType) and method.__globals__["__name__"].startswith("openai.")


def _copy(function: Any, names: dict[str, Any], closure: Any) -> Any:
    copied = FunctionType(
        function.__code__, names, function.__name__, function.__defaults__, closure
    )
    copied.__kwdefaults__, copied.__doc__ = function.__kwdefaults__, function.__doc__
    copied.__dict__.update(function.__dict__)
    copied.__annotations__ = function.__annotations__
    copied.__module__, copied.__qualname__ = function.__module__, function.__qualname__
    return copied


def plain_or_transform(data: Any, expected_type: Any) -> Any:
    """As the SDK's ``maybe_transform``."""
    try:
        return _plain_body(data)
    except _NotPlainError:
        return maybe_transform(data, expected_type)


async def plain_or_atransform(data: Any, expected_type: Any) -> Any:
    """As the SDK's ``async_maybe_transform``."""
    try:
        return _plain_body(data)
    except _NotPlainError:
        return await async_maybe_transform(data, expected_type)


def _plain_body(data: dict[str, Any]) -> dict[str, Any]:
    """A copy, without parameters that are not given."""
    body = {}
    for name, value in data.items():
        kind = type(value)
        if kind in _SCALARS:
            body[name] = value
        elif kind in _LEFT_OUT:
            continue
        elif kind is dict or kind is list or is_given(value):
            body[name] = _plain(value)
    return body


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind is dict:
        return {k: v if type(v) in _SCALARS else _plain(v) for k, v in value.items()}
    if kind is list:
        return [v if type(v) in _SCALARS else _plain(v) for v in value]
    raise _NotPlainError


class RequestOptions:
    """Makes the SDK's options of a request."""

    @staticmethod
    def construct(**values: Any) -> Any:
        """As ``FinalRequestOptions.construct``, which copies the value of each default deeply."""
        plain, mappings = _default_options()
        given = {name: strip_not_given(value) for name, value in values.items()}
        if not given.keys() <= plain.keys():
            return FinalRequestOptions.construct(**values)
        options = FinalRequestOptions.__new__(FinalRequestOptions)
        copies = {name: {**value} for name, value in mappings}
        object.__setattr__(options, "__dict__", {**plain, **copies, **given})
        object.__setattr__(options, "__pydantic_fields_set__", set(given))
        object.__setattr__(options, "__pydantic_extra__", None)
        object.__setattr__(options, "__pydantic_private__", None)
        return options


@cache
def _default_options() -> tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]:
    """The defaults of all fields; those that are mappings once more."""
    fields = FinalRequestOptions.construct(method="", url="").__dict__
    return fields, [(name, value) for name, value in fields.items() if isinstance(value, dict)]


# --- answers --------------------------------------------------------------------------------------


def exact_answer(cast_to: Any, data: Any) -> Any:
    """An answer, or an event of a stream, that has exactly its stated types; else None."""
    if (reader := _reader(cast_to)) is None:
        return None
    try:
        return reader(data)
    except (ValidationError, LookupError, TypeError):
        return None


@cache
def _reader(cast_to: Any) -> Callable[[Any], Any] | None:
    if not is_lean():
        return None
    if isinstance(cast_to, type):
        is_answer = cast_to.__name__ in _ANSWERS and cast_to.__module__.startswith("openai.types.")
        return partial(_exact, cast_to) if is_answer else None
    # Only a program that streams responses has imported their events.
    events = sys.modules.get("openai.types.responses.response_stream_event")
    if events is None or cast_to != events.ResponseStreamEvent:
        return None
    union = get_args(cast_to)[0]
    kinds = {kind: event for event in get_args(union) for kind in _kinds(event)}
    return lambda data: _strict(kinds[data["type"]], data)


def _kinds(event: type[BaseModel]) -> tuple[str, ...]:
    return get_args(event.model_fields["type"].annotation)


def _strict(model: type[BaseModel], data: Any) -> Any:
    return model.__pydantic_validator__.validate_python(data, strict=True)


def _exact(model: type[BaseModel], data: Any) -> Any:
    return _without_extra_names(_strict(model, data))


def _without_extra_names(model: Any) -> Any:
    """The model, which the SDK builds without the names of extra fields among those set.

    It does so for what it does not build as a member of a union.
    """
    if model.__pydantic_extra__:
        model.__pydantic_fields_set__.difference_update(model.__pydantic_extra__)
    fields: Any = model.__dict__
    kind: Any = type(model)
    for name, is_list in _nested(kind):
        for one in fields[name] if is_list else (fields[name],):
            _without_extra_names(one)
    return model


@cache
def _nested(model: Any) -> tuple[tuple[str, bool], ...]:
    """The fields that are models or lists of models: their names, and whether they are lists."""
    found = []
    for name, field in model.model_fields.items():
        is_list = get_origin(field.annotation) is list
        kind = get_args(field.annotation)[0] if is_list else field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found.append((name, is_list))
    return tuple(found)
