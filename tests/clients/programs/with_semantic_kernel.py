"""Semantic Kernel: an agent, plain and streamed, and with a plugin's function."""

from common import MODEL, question, run
from semantic_kernel.agents import ChatCompletionAgent
from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion
from semantic_kernel.functions import kernel_function

from flextier import AsyncFlexOpenAI

service = OpenAIChatCompletion(ai_model_id=MODEL, async_client=AsyncFlexOpenAI())


class Marbles:
    @kernel_function(description="Look up the colour of a marble by its number.")
    def look_up(self, number: int) -> str:
        return f"Marble {number} is green."


async def plain(n: int) -> None:
    agent = ChatCompletionAgent(service=service, name="plain")
    response = await agent.get_response(messages=question(n))
    assert question(n) in str(response), response


async def streamed(n: int) -> None:
    agent = ChatCompletionAgent(service=service, name="streamed")
    pieces = [str(piece) async for piece in agent.invoke_stream(messages=question(n))]
    assert question(n) in "".join(pieces), pieces


async def tool(n: int) -> None:
    agent = ChatCompletionAgent(service=service, name="helper", plugins=[Marbles()])
    response = await agent.get_response(messages=question(n))
    assert f"Marble {n + 71} is green" in str(response), response


def tokens() -> tuple[int, int]:
    return service.prompt_tokens, service.completion_tokens


run(plain, streamed, tool, tokens=tokens)
