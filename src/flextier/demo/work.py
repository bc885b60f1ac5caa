"""The work: the topics of Python's help, each summarised and tagged by a chain."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from pydoc_data import topics as pydoc_topics
from typing import Any, Literal

import openai
from pydantic import BaseModel, Field

from flextier._extras import needs_extra
from flextier.calls import CallReport, track

with needs_extra("langchain"):
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_core.runnables import Runnable

    from flextier.langchain import ChatOpenAIFlex

Tag = Literal[
    "statement", "expression", "operator", "class", "function", "type", "name", "module",
    "exception", "number", "string", "object",
]  # fmt: skip

LONGEST = 6_000
"""Characters of a topic that are sent."""


class Note(BaseModel):
    """What is wanted of a topic."""

    summary: str = Field(description="the topic in one sentence")
    tags: list[Tag] = Field(description="what it is about")


@dataclass(frozen=True)
class Row:
    """What became of one topic."""

    topic: str
    note: Note | None
    report: CallReport | None
    error: Exception | None = None


PROMPT = ChatPromptTemplate.from_messages(
    [
        ("system", "Summarise a topic of Python's help in one sentence, and tag it."),
        ("human", "{text}"),
    ]
)


def make_chain(**arguments: Any) -> Runnable[Any, Any]:
    """``prompt | model | parser``; the arguments are those of ``ChatOpenAIFlex``."""
    return PROMPT | ChatOpenAIFlex(**arguments).with_structured_output(Note)


def topics(count: int | None = None) -> dict[str, str]:
    """The help topics that come with this Python, without their headings."""
    texts: dict[str, str] = pydoc_topics.topics
    chosen = sorted(texts)[:count]
    return {name: re.sub(r"\A.*\n\*+\n+", "", texts[name])[:LONGEST] for name in chosen}


async def summarise(
    chain: Runnable[Any, Any],
    texts: dict[str, str],
    concurrency: int,
    done: Callable[[Row], None],
) -> list[Row]:
    """Send every topic through the chain, so many at a time; ``done`` hears of each."""
    gate = asyncio.Semaphore(concurrency)

    async def one(topic: str) -> Row:
        async with gate:
            row = await _ask(chain, topic, texts[topic])
        done(row)
        return row

    return await asyncio.gather(*map(one, texts))


async def _ask(chain: Runnable[Any, Any], topic: str, text: str) -> Row:
    with track() as calls:
        try:
            note = await chain.ainvoke({"text": text})
        except (openai.OpenAIError, ValueError) as error:
            return Row(topic, None, calls[-1] if calls else None, error)
    return Row(topic, note, calls[-1])
