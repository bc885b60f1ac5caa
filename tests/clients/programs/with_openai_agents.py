"""The OpenAI Agents SDK: streamed over the Responses API, with a tool, and with an output type."""

import agents
from common import MODEL, person, question, run
from pydantic import BaseModel

from flextier import AsyncFlexOpenAI


class Person(BaseModel):
    """A person's data."""

    name: str
    age: int


@agents.function_tool
def look_up(number: int) -> str:
    """Look up the colour of a marble by its number."""
    return f"Marble {number} is green."


agents.set_default_openai_client(AsyncFlexOpenAI(), use_for_tracing=False)
agents.set_tracing_disabled(True)

plain = agents.Agent(name="plain", model=MODEL)
with_tool = agents.Agent(name="with_tool", model=MODEL, tools=[look_up])
typed = agents.Agent(name="typed", model=MODEL, output_type=Person)
used = agents.Usage()


async def streamed(agent: agents.Agent, text: str) -> tuple[agents.RunResultStreaming, str]:
    """The result, and the text that came in pieces."""
    result = agents.Runner.run_streamed(agent, text)
    pieces = [
        event.data.delta
        async for event in result.stream_events()
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
    ]
    used.add(result.context_wrapper.usage)
    return result, "".join(pieces)


async def text(n: int) -> None:
    result, pieces = await streamed(plain, question(n))
    assert question(n) in result.final_output, result.final_output
    assert pieces == result.final_output, pieces


async def tool(n: int) -> None:
    result, _ = await streamed(with_tool, question(n))
    assert f"Marble {n + 71} is green" in result.final_output, result.final_output


async def output_type(n: int) -> None:
    asked, name, age = person(n)
    result, _ = await streamed(typed, asked)
    assert result.final_output == Person(name=name, age=age), result.final_output


run(text, tool, output_type, tokens=lambda: (used.input_tokens, used.output_tokens))
