"""LlamaIndex's classes, as users write them."""

import openai
from llama_index.core import Settings
from llama_index.core.llms import LLM, ChatMessage
from llama_index.core.program import FunctionCallingProgram
from pydantic import BaseModel
from typing_extensions import assert_type

from flextier import AsyncFlexOpenAI, FlexOpenAI, FlexPolicy
from flextier.llama_index import OpenAIFlex, OpenAIResponsesFlex
from flextier.policy import PolicyFields

POLICY: PolicyFields = {"lanes": "auto", "deadline": "10h"}


class Review(BaseModel):
    product: str
    stars: int


def models() -> list[LLM]:
    llm = OpenAIFlex(model="o3", policy={"deadline": 600, "lanes": ("flex",)})
    assert_type(llm.policy, FlexPolicy)
    llm.policy = {"deadline": 30}
    Settings.llm = llm
    full = OpenAIFlex(
        "o4-mini",
        temperature=0.5,
        max_tokens=100,
        additional_kwargs={"service_tier": "flex"},
        api_key="sk-key",
        api_base="https://example.com/v1",
        timeout=60,
        max_retries=3,
        stream_usage=True,
        reasoning_effort="low",
        context_window=200_000,
        system_prompt="Be brief.",
        openai_client=FlexOpenAI(),
        async_openai_client=AsyncFlexOpenAI(),
        policy=FlexPolicy(deadline=60),
    )
    responses = OpenAIResponsesFlex(
        model="o3",
        max_output_tokens=100,
        instructions="Be brief.",
        reasoning_options={"effort": "low"},
        openai_client=openai.OpenAI(),
        timeout=None,
        policy=POLICY,
    )
    assert_type(responses.policy, FlexPolicy)
    return [OpenAIFlex(), llm, full, OpenAIFlex(model="o3"), responses, OpenAIResponsesFlex()]


class TeamLLM(OpenAIFlex):
    """A class of the user's, with a field of its own."""

    team: str = "sea"


def subclass() -> str:
    team = TeamLLM(model="o3", team="kitchen", policy={"deadline": 60})
    print(team.policy.deadline, TeamLLM())
    return team.team


def calls() -> None:
    llm = OpenAIFlex(model="o4-mini")
    print(llm.complete("Name a colour.").additional_kwargs["flextier"])
    for chunk in llm.stream_chat([ChatMessage("Name one.")]):
        print(chunk.delta)
    program = FunctionCallingProgram.from_defaults(
        output_cls=Review, prompt_template_str="Review {product}.", llm=llm
    )
    print(program(product="ink"))
    print(llm.chat([ChatMessage("Name one.")]).message.content)


async def asynchronous() -> None:
    print(await OpenAIResponsesFlex(model="o4-mini").acomplete("Name a colour."))
