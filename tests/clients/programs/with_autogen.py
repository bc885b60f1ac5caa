"""AutoGen: an assistant, streamed, with a tool, and a team of two."""

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.conditions import MaxMessageTermination
from autogen_agentchat.messages import ModelClientStreamingChunkEvent
from autogen_agentchat.teams import RoundRobinGroupChat
from autogen_core.models import ModelFamily, ModelInfo
from autogen_ext.models.openai import BaseOpenAIChatCompletionClient
from common import MODEL, person, question, run
from pydantic import BaseModel

from flextier import AsyncFlexOpenAI

client = BaseOpenAIChatCompletionClient(
    AsyncFlexOpenAI(),
    create_args={"model": MODEL},
    model_info=ModelInfo(
        vision=False, function_calling=True, json_output=True, family=ModelFamily.GPT_5,
        structured_output=True,
    ),
)  # fmt: skip


class Person(BaseModel):
    name: str
    age: int


def look_up(number: int) -> str:
    """Look up the colour of a marble by its number."""
    return f"Marble {number} is green."


async def streamed(n: int) -> None:
    agent = AssistantAgent("plain", model_client=client, model_client_stream=True)
    pieces = [
        event.content
        async for event in agent.run_stream(task=question(n))
        if isinstance(event, ModelClientStreamingChunkEvent)
    ]
    assert question(n) in "".join(pieces), pieces


async def tool(n: int) -> None:
    agent = AssistantAgent("helper", model_client=client, tools=[look_up], reflect_on_tool_use=True)
    result = await agent.run(task=question(n))
    assert f"Marble {n + 71} is green" in result.messages[-1].content, result.messages


async def output_type(n: int) -> None:
    asked, name, age = person(n)
    agent = AssistantAgent("typed", model_client=client, output_content_type=Person)
    result = await agent.run(task=asked)
    assert result.messages[-1].content == Person(name=name, age=age), result.messages


async def team(n: int) -> None:
    members = [AssistantAgent(name, model_client=client) for name in ("first", "second")]
    chat = RoundRobinGroupChat(members, termination_condition=MaxMessageTermination(3))
    result = await chat.run(task=question(n))
    assert len(result.messages) == 3, result.messages
    assert question(n) in result.messages[-1].content, result.messages


def tokens() -> tuple[int, int]:
    usage = client.total_usage()
    return usage.prompt_tokens, usage.completion_tokens


run(streamed, tool, output_type, team, tokens=tokens)
