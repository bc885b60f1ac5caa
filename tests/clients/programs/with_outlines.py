"""outlines: text and typed output, sync and streamed."""

import outlines
from common import MODEL, person, question, run
from pydantic import BaseModel

from flextier import FlexOpenAI

model = outlines.from_openai(FlexOpenAI(), MODEL)


class Person(BaseModel):
    name: str
    age: int


def plain(n: int) -> None:
    text = model(question(n))
    assert question(n) in text, text


def streamed(n: int) -> None:
    text = "".join(model.stream(question(n)))
    assert question(n) in text, text


def typed(n: int) -> None:
    asked, name, age = person(n)
    found = Person.model_validate_json(model(asked, Person))
    assert found == Person(name=name, age=age), found


run(plain, streamed, typed)
