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
    from langchain_openai import ChatOpenAI

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
    """One question for each topic, through ``prompt | model | parser``."""
    return _asks(texts, ChatOpenAIFlex(**arguments).with_structured_output(TopicSummary))


def stock_asks(texts: Mapping[str, str], **arguments: Any) -> dict[str, Ask]:
    """The same questions through LangChain's own class, on flex."""
    model = ChatOpenAI(**arguments, service_tier="flex")
    return _asks(texts, model.with_structured_output(TopicSummary))


def fallback_asks(texts: Mapping[str, str], **arguments: Any) -> dict[str, Ask]:
    """The same with LangChain's fallback to standard, after the retries of the SDK."""
    flex, standard = (
        ChatOpenAI(**arguments, service_tier=tier).with_structured_output(TopicSummary)
        for tier in ("flex", "default")
    )
    return _asks(texts, flex.with_fallbacks([standard]))


ASKED = "topics of Python's help, each summarised and tagged by a chain"

PEERS = {
    'ChatOpenAI(service_tier="flex")': stock_asks,
    "the same .with_fallbacks(...)": fallback_asks,
}
"""What the same questions are asked with beside flextier."""


def _asks(texts: Mapping[str, str], model: Runnable[Any, Any]) -> dict[str, Ask]:
    return {name: partial(_summarise, PROMPT | model, text) for name, text in texts.items()}


async def _summarise(chain: Runnable[Any, Any], text: str) -> str:
    result = await chain.ainvoke({"text": text})
    return f"{result.summary} [{', '.join(result.tags)}]"
