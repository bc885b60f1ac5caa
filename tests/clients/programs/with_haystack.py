"""Haystack: a pipeline with its chat generator, plain and streamed, and an agent with a tool."""

from typing import Annotated

from common import MODEL, question, run
from haystack import Pipeline
from haystack.components.agents import Agent
from haystack.components.builders import ChatPromptBuilder
from haystack.components.generators.chat import OpenAIChatGenerator, OpenAIResponsesChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import tool

from flextier import FlexOpenAI

used = [0, 0]


def chat(kind: type = OpenAIChatGenerator, **arguments: object) -> OpenAIChatGenerator:
    generator = kind(model=MODEL, **arguments)
    generator.client = FlexOpenAI()
    return generator


def count(replies: list[ChatMessage]) -> None:
    for reply in replies:
        usage = reply.meta.get("usage") or {}
        used[0] += usage.get("prompt_tokens", usage.get("input_tokens", 0))
        used[1] += usage.get("completion_tokens", usage.get("output_tokens", 0))


def pipeline(n: int) -> None:
    template = [ChatMessage.from_user("{{ question }}")]
    line = Pipeline()
    line.add_component("prompt", ChatPromptBuilder(template=template, required_variables="*"))
    line.add_component("llm", chat())
    line.connect("prompt.prompt", "llm.messages")
    replies = line.run({"prompt": {"question": question(n)}})["llm"]["replies"]
    count(replies)
    assert question(n) in replies[0].text, replies


def streamed(n: int) -> None:
    pieces = []
    generator = chat(
        streaming_callback=lambda chunk: pieces.append(chunk.content),
        generation_kwargs={"stream_options": {"include_usage": True}},
    )
    replies = generator.run([ChatMessage.from_user(question(n))])["replies"]
    count(replies)
    assert question(n) in "".join(pieces), pieces


@tool
def look_up(number: Annotated[int, "The marble's number"]) -> str:
    """Look up the colour of a marble by its number."""
    return f"Marble {number} is green."


def agent(n: int) -> None:
    helper = Agent(chat_generator=chat(OpenAIResponsesChatGenerator), tools=[look_up])
    messages = helper.run([ChatMessage.from_user(question(n))])["messages"]
    count([message for message in messages if message.role == "assistant"])
    assert f"Marble {n + 71} is green" in messages[-1].text, messages


run(pipeline, streamed, agent, tokens=lambda: (used[0], used[1]))
