"""magentic: prompt functions, plain, typed, streamed, and with a function to call."""

from common import MODEL, person, question, run
from magentic import FunctionCall, OpenaiChatModel, StreamedStr, prompt
from pydantic import BaseModel

model = OpenaiChatModel(MODEL)


class Person(BaseModel):
    name: str
    age: int


def look_up(number: int) -> str:
    """Look up the colour of a marble by its number."""
    return f"Marble {number} is green."


@prompt("{text}", model=model)
def ask(text: str) -> str: ...


@prompt("{text}", model=model)
def ask_streamed(text: str) -> StreamedStr: ...


@prompt("{text}", model=model)
def extract(text: str) -> Person: ...


@prompt("{text}", functions=[look_up], model=model)
def call(text: str) -> FunctionCall[str]: ...


def plain(n: int) -> None:
    text = ask(question(n))
    assert question(n) in text, text


def streamed(n: int) -> None:
    text = "".join(ask_streamed(question(n)))
    assert question(n) in text, text


def typed(n: int) -> None:
    asked, name, age = person(n)
    found = extract(asked)
    assert found == Person(name=name, age=age), found


def tool(n: int) -> None:
    said = call(question(n))()
    assert f"Marble {n + 71} is green" in said, said


run(plain, streamed, typed, tool)
