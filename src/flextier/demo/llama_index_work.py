"""LlamaIndex's part of the demo: a query engine and agents over an index of some topics."""

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

ASKED = "questions to a query engine and to agents with two tools"

INDEXED = 9
"""Number of topics in the index."""


def asks(
    texts: Mapping[str, str], *, base_url: str | None = None, api_key: str | None = None, **llm: Any
) -> dict[str, Ask]:
    """Index the first topics; one query for each topic, and an agent's task for every third."""
    connection: dict[str, Any] = {"api_base": base_url, "api_key": api_key}
    model = OpenAIFlex(**connection, **llm)
    chosen = dict(islice(texts.items(), INDEXED))
    # A node a topic: they are short enough, and splitting takes time.
    nodes = [TextNode(text=text, metadata={"topic": name}) for name, text in chosen.items()]
    embedding = OpenAIEmbedding(**connection, async_http_client=async_http_client())
    index = VectorStoreIndex(nodes, embed_model=embedding)
    engine = index.as_query_engine(llm=model, similarity_top_k=2)
    agent = _agent(model, engine, chosen)
    return {
        **{f"query: {topic}": partial(_query, engine, topic) for topic in chosen},
        **{f"agent: {topic}": partial(_run_agent, agent, topic) for topic in list(chosen)[::3]},
    }


def _agent(model: OpenAIFlex, engine: BaseQueryEngine, texts: Mapping[str, str]) -> FunctionAgent:
    """An agent with two tools: one calls the model, one does not."""

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


async def _run_agent(agent: FunctionAgent, topic: str) -> str:
    done: Any = await agent.run(f"Use look_up and count_words on '{topic}'. What did they say?")
    used = ", ".join(call.tool_name for call in done.tool_calls)
    return f"{done} (tools: {used})"
