"""Guardrails: a guard for a pydantic model, over LiteLLM, and over a function of ours."""

from common import MODEL, person, run
from guardrails import Guard
from pydantic import BaseModel

from flextier import FlexOpenAI

client = FlexOpenAI()


class Person(BaseModel):
    name: str
    age: int


def ask(messages: list[dict[str, str]], **_: object) -> str:
    form = {"type": "json_object"}
    answer = client.chat.completions.create(model=MODEL, messages=messages, response_format=form)
    return answer.choices[0].message.content


def function(n: int) -> None:
    asked, name, age = person(n)
    guard = Guard.for_pydantic(Person)
    text = asked + " ${gr.complete_json_suffix_v3}"
    outcome = guard(ask, messages=[{"role": "user", "content": text}])
    assert outcome.validated_output == {"name": name, "age": age}, outcome


def litellm(n: int) -> None:
    asked, name, age = person(n)
    guard = Guard.for_pydantic(Person)
    outcome = guard(
        model=MODEL,
        messages=[{"role": "user", "content": asked}],
        tools=guard.json_function_calling_tool([]),
        tool_choice="required",
        client=client,
    )
    assert outcome.validated_output == {"name": name, "age": age}, outcome


run(function, litellm)
