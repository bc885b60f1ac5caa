"""Graphiti: its LLM client, typed, as the building of a knowledge graph uses it."""

from common import MODEL, person, run
from graphiti_core.llm_client import LLMConfig, OpenAIClient
from graphiti_core.prompts import Message
from pydantic import BaseModel

from flextier import AsyncFlexOpenAI

client = OpenAIClient(config=LLMConfig(model=MODEL, small_model=MODEL), client=AsyncFlexOpenAI())


class Person(BaseModel):
    name: str
    age: int


async def typed(n: int) -> None:
    asked, name, age = person(n)
    messages = [Message(role="system", content="Extract."), Message(role="user", content=asked)]
    found = await client.generate_response(messages, response_model=Person)
    assert found == {"name": name, "age": age}, found


def tokens() -> tuple[int, int]:
    total = client.token_tracker.get_total_usage()
    return total.input_tokens, total.output_tokens


run(typed, tokens=tokens)
