"""deepagents: an agent with a tool, and its own tools for files and plans."""

from common import MODEL, person, run
from deepagents import create_deep_agent
from langchain_core.callbacks import UsageMetadataCallbackHandler

from flextier.langchain import ChatOpenAIFlex

usage = UsageMetadataCallbackHandler()


def find_marble(number: int) -> str:
    """Find a marble."""
    return f"Marble {number} is green."


async def agent(n: int) -> None:
    helper = create_deep_agent(model=ChatOpenAIFlex(model=MODEL), tools=[find_marble])
    asked = {"messages": [("user", f"Call find_marble with number {n + 71}.")]}
    result = await helper.ainvoke(asked, {"callbacks": [usage]})
    text = result["messages"][-1].text
    assert f"Marble {n + 71} is green" in text, text


async def file(n: int) -> None:
    text, name, _ = person(n)
    helper = create_deep_agent(model=ChatOpenAIFlex(model=MODEL))
    asked = {"messages": [("user", f"Call write_file with '/{name}.txt' and '{text}'")]}
    result = await helper.ainvoke(asked, {"callbacks": [usage]})
    assert f"/{name}.txt" in result["files"], result["files"]


def tokens() -> tuple[int, int]:
    counted = usage.usage_metadata[MODEL]
    return counted["input_tokens"], counted["output_tokens"]


run(agent, file, tokens=tokens)
