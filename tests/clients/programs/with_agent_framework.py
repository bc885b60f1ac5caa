"""Microsoft's Agent Framework: agents on Responses, plain, streamed, typed, with a tool."""

from agent_framework import Agent
from agent_framework.openai import OpenAIChatClient
from common import MODEL, person, question, run
from pydantic import BaseModel

from flextier import AsyncFlexOpenAI

client = OpenAIChatClient(model=MODEL, async_client=AsyncFlexOpenAI())
used = [0, 0]


class Person(BaseModel):
    name: str
    age: int


def look_up(number: int) -> str:
    """Look up the colour of a marble by its number."""
    return f"Marble {number} is green."


def count(response: object) -> None:
    used[0] += response.usage_details["input_token_count"]
    used[1] += response.usage_details["output_token_count"]


async def tool(n: int) -> None:
    response = await Agent(client, tools=[look_up]).run(question(n))
    count(response)
    assert f"Marble {n + 71} is green" in response.text, response.text


async def streamed(n: int) -> None:
    stream = Agent(client).run(question(n), stream=True)
    pieces = [update.text async for update in stream]
    count(await stream.get_final_response())
    assert question(n) in "".join(pieces), pieces


async def typed(n: int) -> None:
    asked, name, age = person(n)
    response = await Agent(client).run(asked, options={"response_format": Person})
    count(response)
    assert response.value == Person(name=name, age=age), response


run(tool, streamed, typed, tokens=lambda: (used[0], used[1]))
