"""Instructor: in its modes for tools, strict schemas and JSON; sync, and async with a list."""

import asyncio

import instructor
from common import MODEL, person, run
from pydantic import BaseModel

from flextier import AsyncFlexOpenAI, FlexOpenAI


class Person(BaseModel):
    name: str
    age: int


TOOLS = instructor.from_openai(FlexOpenAI(), mode=instructor.Mode.TOOLS)
SCHEMA = instructor.from_openai(FlexOpenAI(), mode=instructor.Mode.JSON_SCHEMA)
JSON = instructor.from_openai(FlexOpenAI(), mode=instructor.Mode.JSON)
ASYNC = instructor.from_openai(AsyncFlexOpenAI())
used = [0, 0]


def ask(client: instructor.Instructor, n: int) -> None:
    asked, name, age = person(n)
    messages = [{"role": "user", "content": asked}]
    found, completion = client.chat.completions.create_with_completion(
        model=MODEL, messages=messages, response_model=Person
    )
    used[0] += completion.usage.prompt_tokens
    used[1] += completion.usage.completion_tokens
    assert (found.name, found.age) == (name, age), found


def tools(n: int) -> None:
    ask(TOOLS, n)


def schema(n: int) -> None:
    ask(SCHEMA, n)


def json(n: int) -> None:
    ask(JSON, n)


def several_async(n: int) -> None:
    asked, name, age = person(n)
    messages = [{"role": "user", "content": asked}]

    async def ask_async() -> list[Person]:
        found, completion = await ASYNC.chat.completions.create_with_completion(
            model=MODEL, messages=messages, response_model=list[Person]
        )
        used[0] += completion.usage.prompt_tokens
        used[1] += completion.usage.completion_tokens
        return list(found)

    found = asyncio.run(ask_async())
    assert [(one.name, one.age) for one in found] == [(name, age)], found


run(tools, schema, json, several_async, tokens=lambda: (used[0], used[1]))
