"""LangChain and LangGraph: `create_agent` with a tool and a ToolStrategy, a graph, streamed."""

from common import MODEL, person, question, run
from langchain.agents import create_agent
from langchain.agents.structured_output import ToolStrategy
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.messages import AnyMessage
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import BaseModel

from flextier.langchain import ChatOpenAIFlex

llm = ChatOpenAIFlex(model=MODEL)
usage = UsageMetadataCallbackHandler()
CONFIG = {"callbacks": [usage]}


class Person(BaseModel):
    name: str
    age: int


def look_up(number: int) -> str:
    """Look up the colour of a marble by its number."""
    return f"Marble {number} is green."


def asked(text: str) -> dict[str, list[tuple[str, str]]]:
    return {"messages": [("user", text)]}


async def agent(n: int) -> None:
    result = await create_agent(llm, [look_up]).ainvoke(asked(question(n)), CONFIG)
    text = result["messages"][-1].text
    assert f"Marble {n + 71} is green" in text, text


async def tool_strategy(n: int) -> None:
    _, name, age = person(n)
    agent = create_agent(llm, [look_up], response_format=ToolStrategy(Person))
    text = f"Look up marble number {age}: which person, '{name}', has it?"
    result = await agent.ainvoke(asked(text), CONFIG)
    assert [m.name for m in result["messages"] if m.type == "tool"] == ["look_up", "Person"]
    assert result["structured_response"] == Person(name=name, age=age), result


async def ask(state: MessagesState) -> dict[str, list[AnyMessage]]:
    return {"messages": [await llm.ainvoke(state["messages"])]}


async def graph(n: int) -> None:
    line = StateGraph(MessagesState).add_node("ask", ask).add_edge(START, "ask").compile()
    pieces = [
        chunk.text
        async for chunk, _ in line.astream(asked(question(n)), CONFIG, stream_mode="messages")
    ]
    assert question(n) in "".join(pieces), pieces


def tokens() -> tuple[int, int]:
    counted = usage.usage_metadata[MODEL]
    return counted["input_tokens"], counted["output_tokens"]


run(agent, tool_strategy, graph, tokens=tokens)
