"""The SDK's clients, as users write them."""

# pyright: strict

from decimal import Decimal
from pathlib import Path

import openai
from pydantic import BaseModel
from typing_extensions import assert_type

from flextier import AsyncFlexOpenAI, CallReport, FlexOpenAI, FlexPolicy, override, track
from flextier.policy import PolicyFields

POLICY: PolicyFields = {"lanes": ("flex", "standard"), "deadline": 120}


class Colour(BaseModel):
    name: str


def clients() -> list[openai.OpenAI]:
    client = FlexOpenAI(
        policy={"deadline": "2m", "budget": 5, "journal": Path("calls.db")},
        api_key=lambda: "sk-key",
        timeout=openai.Timeout(60, connect=5),
        max_retries=4,
        default_headers={"X-Team": "colours"},
        http_client=openai.DefaultHttpxClient(),
        base_url="https://example.com/v1",
    )
    assert_type(client.policy, FlexPolicy)
    assert_type(client.copy(policy=POLICY, timeout=None), FlexOpenAI)
    assert_type(client.with_options(timeout=30, max_retries=0), FlexOpenAI)
    return [FlexOpenAI(), client, FlexOpenAI(policy=POLICY), FlexOpenAI(policy=FlexPolicy())]


async def asynchronous() -> str:
    async def key() -> str:
        return "sk-key"

    client = AsyncFlexOpenAI(api_key=key, http_client=openai.DefaultAsyncHttpxClient())
    assert_type(client.with_options(policy={"deadline": 5}), AsyncFlexOpenAI)
    answer = await client.responses.create(model="o4-mini", input="Name a colour.")
    return answer.output_text


def calls() -> Colour | None:
    client = FlexOpenAI()
    with track() as reports, override(deadline=30, lanes=["flex"], patience="90s"):
        chat = client.chat.completions.parse(
            model="o4-mini",
            messages=[{"role": "user", "content": "Name a colour."}],
            response_format=Colour,
        )
        for chunk in client.chat.completions.create(
            model="o4-mini", messages=[{"role": "user", "content": "Name one."}], stream=True
        ):
            print(chunk.choices[0].delta.content)
    assert_type(reports, list[CallReport])
    print(reports[-1].lane, reports[-1].waited)
    return chat.choices[0].message.parsed


def policies() -> FlexPolicy:
    policy = FlexPolicy(
        lanes="batch, flex, standard",
        deadline=8 * 3600,
        budget=Decimal("2.50"),
        lane_support={"gpt-7*": ("batch", "background")},
        journal_duplicates="once",
        background_window="8h",
    )
    assert_type(policy.deadline, float | None)
    assert_type(policy.lanes, tuple[str, ...])
    assert_type(FlexPolicy.of({"deadline": 5}), FlexPolicy)
    return policy.replace(deadline=None, journal_ttl="2d")
