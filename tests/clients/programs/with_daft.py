"""Daft: prompt() on rows, in both APIs, and typed; with the provider of examples/daft."""

import sys
from pathlib import Path
from typing import Any

import daft
from common import MODEL, person, question, run
from daft.functions import prompt
from pydantic import BaseModel

sys.path.insert(0, str(Path(__file__).parents[3] / "examples" / "daft"))
from flex_provider import FlexProvider


class Person(BaseModel):
    name: str
    age: int


def answers(texts: list[str], **options: Any) -> list[Any]:
    rows = daft.from_pydict({"text": texts})
    asked = prompt(rows["text"], provider=FlexProvider(), model=MODEL, **options)
    return rows.with_column("answer", asked).to_pydict()["answer"]


def responses(n: int) -> None:
    texts = [question(n), question(n + 100)]
    found = answers(texts)
    assert all(text in one for text, one in zip(texts, found, strict=True)), found


def chat(n: int) -> None:
    [found] = answers([question(n)], use_chat_completions=True)
    assert question(n) in found, found


def typed(n: int) -> None:
    asked, name, age = person(n)
    [found] = answers([asked], return_format=Person)
    assert found == {"name": name, "age": age}, found


run(responses, chat, typed)
