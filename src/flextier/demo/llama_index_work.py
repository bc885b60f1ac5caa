"""LlamaIndex's work: some of the topics in an index, asked by a query engine and by agents."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import islice
from typing import Any

from flextier._utils.extras import needs_extra
from flextier.demo.questions import Ask
from flextier.llama_index import OpenAIFlex
from flextier.transport.http_clients import async_http_client

with needs_extra("llama-index"):
    from llama_index.core import VectorStoreIndex
    from llama_index.core.agent.workflow import FunctionAgent
    from llama_index.core.base.base_query_engine import BaseQueryEngine
    from llama_index.core.schema import TextNode
    from llama_index.embeddings.openai import OpenAIEmbedding  # type: ignore[import-untyped]

INDEXED = 9
"""Topics in the index."""


def asks(
    texts: Mapping[str, str], *, base_url: str | None = None, api_key: str | None = None, **llm: Any
) -> dict[str, Ask]:
    """Index the first topics, and ask about each; every third one is an agent's task, too.

    Args:
        texts: the topics.
        base_url: where calls and embeddings go; None: as LlamaIndex does by itself.
        api_key: the key; None: from the environment.
        **llm: as for ``OpenAIFlex``.
    """
    place: dict[str, Any] = {"api_base": base_url, "api_key": api_key}
    model = OpenAIFlex(stream_usage=True, **place, **llm)  # agents stream
    chosen = dict(islice(texts.items(), INDEXED))
    # A node a topic: they are short enough, and splitting takes time.
    nodes = [TextNode(text=text, metadata={"topic": name}) for name, text in chosen.items()]
    embedding = OpenAIEmbedding(**place, async_http_client=async_http_client())
    index = VectorStoreIndex(nodes, embed_model=embedding)
    engine = index.as_query_engine(llm=model, similarity_top_k=2)
    agent = _agent(model, engine, chosen)
    return {
        **{f"query: {topic}": partial(_query, engine, topic) for topic in chosen},
        **{f"agent: {topic}": partial(_give, agent, topic) for topic in list(chosen)[::3]},
    }


def _agent(model: OpenAIFlex, engine: BaseQueryEngine, texts: Mapping[str, str]) -> FunctionAgent:
    """An agent with two tools: one asks the model in its turn, one needs no model."""

    async def look_up(question: str) -> str:
        """Answer a question from Python's help."""
        return str(await engine.aquery(question))

    def count_words(topic: str) -> int:
        """Count the words of a topic of Python's help."""
        return len(texts.get(topic, "").split())

    return FunctionAgent(tools=[look_up, count_words], llm=model)


async def _query(engine: BaseQueryEngine, topic: str) -> str:
    answer = await engine.aquery(f"What does Python's help say of '{topic}', in one sentence?")
    sources = ", ".join(node.metadata["topic"] for node in answer.source_nodes)
    return f"{answer} (from {sources})"


async def _give(agent: FunctionAgent, topic: str) -> str:
    done: Any = await agent.run(f"Use look_up and count_words on '{topic}'. What did they say?")
    used = ", ".join(call.tool_name for call in done.tool_calls)
    return f"{done} (tools: {used})"
