"""pydantic-ai: plain and streamed, with a tool, and with an output type; Chat and Responses."""

from common import MODEL, person, question, run
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.usage import RunUsage

from flextier import AsyncFlexOpenAI


class Person(BaseModel):
    name: str
    age: int


provider = OpenAIProvider(openai_client=AsyncFlexOpenAI())
chat = OpenAIChatModel(MODEL, provider=provider)
responses = OpenAIResponsesModel(MODEL, provider=provider)
plain, on_responses = Agent(chat), Agent(responses)
typed = Agent(chat, output_type=Person)
with_tool = Agent(responses)
used = RunUsage()


@with_tool.tool_plain
def look_up(number: int) -> str:
    """Look up the colour of a marble by its number."""
    return f"Marble {number} is green."


async def text(n: int) -> None:
    result = await plain.run(question(n), usage=used)
    assert question(n) in result.output, result.output


async def streamed(n: int) -> None:
    async with on_responses.run_stream(question(n), usage=used) as result:
        output = "".join([piece async for piece in result.stream_text(delta=True)])
    assert question(n) in output, output


async def output_type(n: int) -> None:
    asked, name, age = person(n)
    result = await typed.run(asked, usage=used)
    assert result.output == Person(name=name, age=age), result.output


async def tool(n: int) -> None:
    result = await with_tool.run(question(n), usage=used)
    assert f"Marble {n + 71} is green" in result.output, result.output


run(text, streamed, output_type, tool, tokens=lambda: (used.input_tokens, used.output_tokens))
