"""Mirascope: calls, streamed, typed, and with a tool."""

from common import MODEL, person, question, run
from mirascope import llm
from pydantic import BaseModel

used = [0, 0]
NAME = f"openai/{MODEL}"


class Person(BaseModel):
    name: str
    age: int


@llm.tool
def look_up(number: int) -> str:
    """Look up the colour of a marble by its number."""
    return f"Marble {number} is green."


@llm.call(NAME)
def ask(text: str) -> str:
    return text


@llm.call(NAME, format=Person)
def extract(text: str) -> str:
    return text


@llm.call(NAME, tools=[look_up])
def ask_with_tool(text: str) -> str:
    return text


def count(response: llm.Response) -> None:
    used[0] += response.usage.input_tokens
    used[1] += response.usage.output_tokens


def plain(n: int) -> None:
    response = ask(question(n))
    count(response)
    assert question(n) in response.text(), response.text()


def streamed(n: int) -> None:
    response = ask.stream(question(n))
    text = "".join(response.text_stream())
    count(response)
    assert question(n) in text, text


def typed(n: int) -> None:
    asked, name, age = person(n)
    response = extract(asked)
    count(response)
    assert response.parse() == Person(name=name, age=age), response.text()


def tool(n: int) -> None:
    response = ask_with_tool(question(n))
    count(response)
    response = response.resume(response.execute_tools())
    count(response)
    assert f"Marble {n + 71} is green" in response.text(), response.text()


run(plain, streamed, typed, tool, tokens=lambda: (used[0], used[1]))
