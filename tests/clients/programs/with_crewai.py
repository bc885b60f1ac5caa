"""CrewAI: a crew of one, with a tool, and with an output type."""

from common import MODEL, person, question, run
from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool
from pydantic import BaseModel

used = [0, 0]


class Person(BaseModel):
    name: str
    age: int


@tool
def look_up(number: int) -> str:
    """Look up the colour of a marble by its number."""
    return f"Marble {number} is green."


def crew(text: str, tools: list[object] = [], output: type | None = None) -> object:  # noqa: B006
    llm = LLM(model=f"openai/{MODEL}")
    agent = Agent(role="Helper", goal="Help", backstory="A helper", llm=llm, tools=tools)
    task = Task(description=text, expected_output="A text", agent=agent, output_pydantic=output)
    result = Crew(agents=[agent], tasks=[task]).kickoff()
    used[0] += result.token_usage.prompt_tokens
    used[1] += result.token_usage.completion_tokens
    return result


def plain(n: int) -> None:
    result = crew(question(n))
    assert f"marble number {n + 71}" in result.raw, result.raw


def with_tool(n: int) -> None:
    result = crew(question(n), [look_up])
    assert f"Marble {n + 71} is green" in result.raw, result.raw


def typed(n: int) -> None:
    asked, name, age = person(n)
    result = crew(asked, output=Person)
    assert result.pydantic == Person(name=name, age=age), result


run(plain, with_tool, typed, tokens=lambda: (used[0], used[1]))
