"""Agno: agents on Chat and on Responses, streamed, typed, and with a tool."""

from agno.agent import Agent, RunContentEvent
from agno.models.openai import OpenAIChat, OpenAIResponses
from common import MODEL, person, question, run
from pydantic import BaseModel

from flextier import AsyncFlexOpenAI

client = AsyncFlexOpenAI()
used = [0, 0]


class Person(BaseModel):
    name: str
    age: int


def look_up(number: int) -> str:
    """Look up the colour of a marble by its number."""
    return f"Marble {number} is green."


def count(response: object) -> None:
    used[0] += response.metrics.input_tokens
    used[1] += response.metrics.output_tokens


async def chat(n: int) -> None:
    agent = Agent(model=OpenAIChat(MODEL, async_client=client), tools=[look_up])
    response = await agent.arun(question(n))
    count(response)
    assert f"Marble {n + 71} is green" in response.content, response.content


async def streamed(n: int) -> None:
    agent = Agent(model=OpenAIResponses(MODEL, async_client=client))
    pieces = []
    async for event in agent.arun(question(n), stream=True, yield_run_output=True):
        if isinstance(event, RunContentEvent):
            pieces.append(event.content or "")
        elif hasattr(event, "metrics"):
            last = event
    count(last)
    assert question(n) in "".join(pieces), pieces


async def typed(n: int) -> None:
    asked, name, age = person(n)
    agent = Agent(model=OpenAIResponses(MODEL, async_client=client), output_schema=Person)
    response = await agent.arun(asked)
    count(response)
    assert response.content == Person(name=name, age=age), response.content


run(chat, streamed, typed, tokens=lambda: (used[0], used[1]))
