"""The lean path sends the bodies and returns the objects that the SDK alone does.

It runs under any SDK version, as a check before ``lean.CHECKED`` names that version.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Callable, Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import openai
import pytest
from openai._models import construct_type
from openai._utils import PropertyInfo
from openai.resources.chat.completions import AsyncCompletions, Completions
from openai.resources.responses import AsyncResponses, Responses
from openai.types.chat import ChatCompletion, ChatCompletionChunk, completion_create_params
from openai.types.responses import Response, ResponseStreamEvent, response_create_params
from pydantic import BaseModel
from typing_extensions import TypeAliasType, is_typeddict

from flextier import AsyncFlexOpenAI, FlexOpenAI
from flextier._openai import lean
from flextier._openai.http_library import http
from flextier.variables import LEAN
from tests.client.callers import KEY

PARAMETERS = (
    completion_create_params.CompletionCreateParamsNonStreaming,
    completion_create_params.CompletionCreateParamsStreaming,
    *get_args(response_create_params.ResponseCreateParams),
)
ANSWERS = (ChatCompletion, ChatCompletionChunk, Response, ResponseStreamEvent)
ANSWER = {
    "id": "x", "object": "chat.completion", "created": 1, "model": "o3", "service_tier": "flex",
    "choices": [{"index": 0, "finish_reason": "stop",
                 "message": {"role": "assistant", "content": '{"a": 1}'}}],
}  # fmt: skip
RESPONSE = {
    "id": "resp_1", "object": "response", "created_at": 1, "model": "o3", "status": "completed",
    "output": [{"type": "message", "role": "assistant", "id": "m", "status": "completed",
                "content": [{"type": "output_text", "text": '{"a": 1}', "annotations": []}]}],
    "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "service_tier": "flex",
}  # fmt: skip


class Shape(BaseModel):
    """A schema of a caller's."""

    a: int


@pytest.fixture(autouse=True)
def _lean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """On, also under an SDK version that has not been checked."""
    monkeypatch.setattr(lean, "CHECKED", (((0, 0), (99, 0)),))
    _forget()
    yield
    _forget()


def _forget() -> None:
    for remembered in (lean.is_lean, lean._reader, lean._plain_class):
        remembered.cache_clear()


# --- bodies ---------------------------------------------------------------------------------------


def test_no_parameter_has_an_alias_or_a_format() -> None:
    """Else a copy of the body would not be what the SDK sends."""
    seen: list[Any] = []
    found = [str(one) for root in PARAMETERS for one in _annotations(root, seen)]
    assert found == []
    assert len(seen) > 150


def _annotations(kind: Any, seen: list[Any]) -> Iterator[Any]:
    if isinstance(kind, TypeAliasType):
        kind = kind.__value__
    if any(kind is one for one in seen):
        return
    seen.append(kind)
    if get_origin(kind) is Annotated:
        yield from (
            one
            for one in get_args(kind)[1:]
            if isinstance(one, PropertyInfo) and (one.alias or one.format)
        )
    inner = get_args(kind)
    if is_typeddict(kind):
        inner = tuple(get_type_hints(kind, include_extras=True).values())
    for one in inner:
        if not isinstance(one, str):
            yield from _annotations(one, seen)


MESSAGES = [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]
TOOL = {
    "type": "function",
    "function": {"name": "f", "strict": True, "parameters": {"type": "object", "x": [1, None]}},
}
CHAT: dict[str, dict[str, Any]] = {
    "plain": {"messages": MESSAGES},
    "tools": {"messages": MESSAGES, "tools": [TOOL], "tool_choice": {"type": "auto"}},
    "omitted": {"messages": MESSAGES, "user": openai.omit, "stop": openai.not_given, "n": None},
    "omitted inside": {"messages": [{"role": "user", "content": "x", "name": openai.omit}]},
    "a tuple": {"messages": tuple(MESSAGES)},
    "a model": {"messages": [*MESSAGES, ChatCompletion(**ANSWER).choices[0].message]},
    "a generator": {"messages": (one for one in MESSAGES)},
    "unknown fields": {"messages": [{"role": "user", "content": "x", "new": {"y": (1, 2)}}]},
    "numbers": {"messages": MESSAGES, "logit_bias": {1: 2}, "temperature": 1, "top_p": 0.5},
    "extra": {"messages": MESSAGES, "extra_body": {"z": 1}, "extra_headers": {"x-a": "b"}},
}
RESPONSES: dict[str, dict[str, Any]] = {
    "text": {"input": "hello"},
    "items": {"input": [{"role": "user", "content": [{"type": "input_text", "text": "x"}]}]},
    "a model": {"input": [*Response(**RESPONSE).output]},
    "tools": {"input": "x", "tools": [{"type": "web_search"}], "reasoning": {"effort": "low"}},
    "omitted": {"input": "x", "instructions": openai.omit, "user": None},
}
CALLS: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "create": lambda c, x: c.create(model="o3", **x),
    "raw": lambda c, x: c.with_raw_response.create(model="o3", **x),
    "parse": lambda c, x: c.parse(model="o3", **x),
}
KINDS = [
    *(("chat.completions", name, call) for name in CHAT for call in CALLS),
    *(("responses", name, call) for name in RESPONSES for call in CALLS),
]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(("resource", "name", "call"), KINDS)
@pytest.mark.sampled(3)
def test_bodies(resource: str, name: str, call: str, is_async: bool) -> None:
    """The SDK and our client send the same JSON, in the same order."""
    arguments = (CHAT if resource == "chat.completions" else RESPONSES)[name]
    if name == "a generator":
        arguments = {"messages": list(arguments["messages"])}
    sent = [
        _sent(client, resource, CALLS[call], arguments, is_async)
        for client in (
            (openai.AsyncOpenAI, AsyncFlexOpenAI) if is_async else (openai.OpenAI, FlexOpenAI)
        )
    ]
    assert sent[0] == {name: value for name, value in sent[1].items() if name != "service_tier"}
    assert list(sent[0]) == [name for name in sent[1] if name != "service_tier"]


def _sent(made: Any, resource: str, call: Any, arguments: dict[str, Any], is_async: bool) -> Any:
    bodies: list[bytes] = []

    def answer(request: Any) -> Any:
        bodies.append(request.content)
        return http.Response(200, json=RESPONSE if resource == "responses" else ANSWER)

    transport = http.MockTransport(answer)
    client = http.AsyncClient(transport=transport) if is_async else http.Client(transport=transport)
    sdk = made(api_key=KEY, base_url="http://localhost:1/v1", http_client=client)
    for part in resource.split("."):
        sdk = getattr(sdk, part)
    if not is_async:
        call(sdk, arguments)
    else:

        async def run() -> None:
            await call(sdk, arguments)
            await client.aclose()

        asyncio.run(run())
    return json.loads(bodies[-1])


def test_a_body_is_a_copy() -> None:
    """What the caller changes later is not sent by a later attempt."""
    messages = [{"role": "user", "content": ["x"]}]
    body = lean.plain_or_transform({"messages": messages}, PARAMETERS[0])
    messages[0]["content"].append("y")  # type: ignore[attr-defined]
    assert body == {"messages": [{"role": "user", "content": ["x"]}]}


# --- what others replace --------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["replaced", "used"])
def test_a_method_that_is_replaced_is_called(first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Telemetry wraps the methods of the SDK's classes, before or after our client is used."""
    client = FlexOpenAI(api_key=KEY, base_url="http://localhost:1/v1")
    if first == "used":
        assert callable(client.responses.create)
    monkeypatch.setattr(Responses, "create", lambda self, **arguments: arguments)
    assert client.responses.create(model="o3") == {"model": "o3"}  # type: ignore[comparison-overlap]
    client.close()


@pytest.mark.parametrize("resource", [Completions, AsyncCompletions, Responses, AsyncResponses])
def test_the_sdks_own_classes_are_not_changed(resource: Any) -> None:
    """Another client's calls, and what a signature shows, are the SDK's."""
    ours = lean._plain_class(resource)
    for name in ("create", "parse"):
        own, plain = vars(resource)[name], vars(ours)[name]._plain
        assert own is not plain
        assert own.__globals__.get("maybe_transform") is not lean.plain_or_transform
        assert (own.__doc__, own.__qualname__) == (plain.__doc__, plain.__qualname__)
        assert own.__kwdefaults__ == plain.__kwdefaults__
    assert issubclass(ours, resource)
    assert ours.__qualname__ == resource.__qualname__


# --- answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("answer", ANSWERS, ids=["chat", "chunk", "response", "event"])
@pytest.mark.sampled(8)
def test_answers(answer: Any, seed: int) -> None:
    """Generated JSON, right and wrong, becomes the same objects, to every field that was set."""
    chance = random.Random(seed)
    exact = 0
    for _ in range(25):
        data = _json(answer, chance, wrong=chance.choice([0, 0, 0.02]))
        made = lean.exact_answer(answer, data)
        if made is None:
            continue
        exact += 1
        expected = construct_type(type_=answer, value=data)
        assert _facts(made) == _facts(expected), data
    assert exact


def _facts(value: Any) -> Any:
    """All that can be seen of an object."""
    if isinstance(value, BaseModel):
        fields = {name: _facts(one) for name, one in value.__dict__.items()}
        extra = _facts(value.model_extra)
        return type(value), fields, extra, value.model_fields_set
    if isinstance(value, dict):
        return {name: _facts(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_facts(one) for one in value]
    return type(value), value


WORDS = ("a", "", "ä", "2026-11-30")


def _json(kind: Any, chance: random.Random, wrong: float = 0.0, depth: int = 0) -> Any:
    """A value of a type, as JSON; at times a wrong one."""
    if chance.random() < wrong:
        return chance.choice([None, 1, "wrong", [], {}, True, 1.5])
    if isinstance(kind, TypeAliasType):
        kind = kind.__value__
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _json(inner[0], chance, wrong, depth)
    if origin in (Union, UnionType):
        simple = [one for one in inner if one is type(None)] if depth > 4 else []
        return _json(chance.choice(simple or inner), chance, wrong, depth + 1)
    if origin is Literal:
        return chance.choice(inner)
    if origin is list:
        count = 0 if depth > 6 else chance.randrange(3)
        return [_json(inner[0], chance, wrong, depth + 1) for _ in range(count)]
    if origin is dict:
        return {"k": _json(inner[1], chance, wrong, depth + 1)}
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _object(kind, chance, wrong, depth)
    return {
        str: chance.choice(WORDS), int: chance.randrange(9), bool: chance.random() < 0.5,
        float: chance.choice([1, 2.5]), type(None): None,
    }.get(kind, {"any": [1]})  # fmt: skip


def _object(kind: type[BaseModel], chance: random.Random, wrong: float, depth: int) -> Any:
    made = {}
    for name, field in kind.model_fields.items():
        if field.is_required() or chance.random() < 0.5:
            made[field.alias or name] = _json(field.annotation, chance, wrong, depth + 1)
    if chance.random() < 0.2:
        made["a_new_field"] = {"x": 1}
    return made


# --- off ------------------------------------------------------------------------------------------


def test_off(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """An SDK version that was not checked, and the variable, switch it off."""
    monkeypatch.setattr(lean, "CHECKED", (((0, 0), (0, 1)),))
    with caplog.at_level(logging.DEBUG, "flextier"):
        _assert_off()
        _assert_off()
    assert [record.getMessage() for record in caplog.records] == [
        f"openai {openai.__version__} is not known: its own way is taken"
    ]
    monkeypatch.setattr(lean, "CHECKED", (((0, 0), (99, 0)),))
    monkeypatch.setenv(LEAN, "0")
    _forget()
    _assert_off()


def _assert_off() -> None:
    client = FlexOpenAI(api_key=KEY, base_url="http://localhost:1/v1")
    assert type(client.chat.completions) is Completions
    assert type(client.responses) is Responses
    assert lean.exact_answer(ChatCompletion, ANSWER) is None
    client.close()


def test_this_version_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The versions that the tests run with have the lean path on."""
    monkeypatch.undo()
    monkeypatch.delenv(LEAN, raising=False)
    _forget()
    assert lean.is_lean()
