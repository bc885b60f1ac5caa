"""LangChain's part of the demo: a chain summarises and tags every topic."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

from pydantic import BaseModel, Field

from flextier._utils.extras import needs_extra
from flextier.demo.questions import Ask

with needs_extra("langchain"):
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_core.runnables import Runnable

    from flextier.langchain import ChatOpenAIFlex

Tag = Literal[
    "statement", "expression", "operator", "class", "function", "type", "name", "module",
    "exception", "number", "string", "object",
]  # fmt: skip


class TopicSummary(BaseModel):
    """The output of the model for a topic."""

    summary: str = Field(description="the topic in one sentence")
    tags: list[Tag] = Field(description="what it is about")


PROMPT = ChatPromptTemplate.from_messages(
    [
        ("system", "Summarise a topic of Python's help in one sentence, and tag it."),
        ("human", "{text}"),
    ]
)


def asks(texts: Mapping[str, str], **arguments: Any) -> dict[str, Ask]:
    """One question for each topic, through ``prompt | model | parser``.

    Args:
        texts: the topics.
        **arguments: arguments of ``ChatOpenAIFlex``.
    """
    chain = PROMPT | ChatOpenAIFlex(**arguments).with_structured_output(TopicSummary)
    return {name: partial(_summarise, chain, text) for name, text in texts.items()}


async def _summarise(chain: Runnable[Any, Any], text: str) -> str:
    result = await chain.ainvoke({"text": text})
    return f"{result.summary} [{', '.join(result.tags)}]"
