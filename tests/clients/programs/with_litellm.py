"""LiteLLM: plain, async, streamed, and with a tool; ours as `client=`."""

import asyncio

import litellm
from common import MODEL, question, run

from flextier import AsyncFlexOpenAI, FlexOpenAI

client = FlexOpenAI()
used = [0, 0]
costs = []
TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "parameters": {"type": "object", "properties": {"number": {"type": "integer"}}},
    },
}


def count(response: litellm.ModelResponse) -> str:
    used[0] += response.usage.prompt_tokens
    used[1] += response.usage.completion_tokens
    costs.append(litellm.completion_cost(response))
    return response.choices[0].message


def messages(n: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": question(n)}]


def plain(n: int) -> None:
    message = count(litellm.completion(MODEL, messages(n), client=client))
    assert question(n) in message.content, message


def asynchronous(n: int) -> None:
    async def ask() -> litellm.ModelResponse:
        async with AsyncFlexOpenAI() as ours:
            return await litellm.acompletion(MODEL, messages(n), client=ours)

    message = count(asyncio.run(ask()))
    assert question(n) in message.content, message


def streamed(n: int) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(litellm.completion(MODEL, messages(n), client=client, **options))
    message = count(litellm.stream_chunk_builder(chunks))
    assert question(n) in message.content, message


def tool(n: int) -> None:
    message = count(litellm.completion(MODEL, messages(n), client=client, tools=[TOOL]))
    assert message.tool_calls[0].function.arguments == f'{{"number":{n + 71}}}', message


run(plain, asynchronous, streamed, tool, tokens=lambda: (used[0], used[1]), cost=lambda: sum(costs))
