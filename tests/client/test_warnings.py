"""Warnings of a call point to the line of the user's program that makes it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest

from flextier import AsyncFlexOpenAI, FlexOpenAI, FlexPolicy, override
from flextier.lanes import eligibility
from flextier.planning import without_flex
from flextier.sim import Fault, Simulator

ASK: dict[str, Any] = {"model": "o3", "messages": [{"role": "user", "content": "Hi."}]}
TROUBLE = [
    (FlexPolicy(lanes=("batch", "standard")), [], "instead of batch"),
    (FlexPolicy(), [Fault.unverified()], "verified organisations"),
    (FlexPolicy(deadline=20), [], "deadline=20 buys no flex"),
]


@pytest.fixture(autouse=True)
def not_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    """These warnings come once a process."""
    eligibility.warn_ineligible.cache_clear()
    monkeypatch.setattr(without_flex, "_warned_of_deadline", False)


@pytest.mark.parametrize(("policy", "faults", "message"), TROUBLE)
def test_a_sync_call(
    policy: FlexPolicy, faults: list[Fault], message: str, flextier_sim: Simulator
) -> None:
    """Not to a line of the SDK, or of flextier."""
    flextier_sim.script(*faults)
    with FlexOpenAI(base_url=flextier_sim.base_url, api_key="x", policy=policy) as client:
        with pytest.warns(UserWarning, match=message) as caught:
            stream = client.chat.completions.create(**ASK, stream=True)
        list(stream)
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize(("policy", "faults", "message"), TROUBLE)
async def test_an_async_call(
    policy: FlexPolicy, faults: list[Fault], message: str, flextier_sim: Simulator
) -> None:
    """The line that awaits the call."""
    flextier_sim.script(*faults)
    async with AsyncFlexOpenAI(
        base_url=flextier_sim.base_url, api_key="x", policy=policy
    ) as client:
        with pytest.warns(UserWarning, match=message) as caught:
            stream = await client.chat.completions.create(**ASK, stream=True)
        async for _ in stream:
            pass
    assert [warning.filename for warning in caught] == [__file__]


def langchain(url: str) -> Callable[[str], object]:
    """A call of LangChain, through a chain."""
    from langchain_core.output_parsers import StrOutputParser

    from flextier.langchain import ChatOpenAIFlex

    llm = ChatOpenAIFlex(model="o3", base_url=url, api_key="x", policy={"deadline": 20})
    return (llm | StrOutputParser()).invoke


def llama_index(url: str) -> Callable[[str], object]:
    """A call of LlamaIndex, whose instrumentation is between it and the caller."""
    pytest.importorskip("llama_index.llms.openai", reason="LlamaIndex takes openai<3")
    from flextier.llama_index import OpenAIFlex

    return OpenAIFlex(model="o3", api_base=url, api_key="x", policy={"deadline": 20}).complete


@pytest.mark.parametrize("framework", [langchain, llama_index])
def test_a_call_of_a_framework(framework: Any, flextier_sim: Simulator) -> None:
    """Not to a line of the framework."""
    call = framework(flextier_sim.base_url)
    with pytest.warns(UserWarning, match="standard_reserve=30 seconds .* a longer deadline") as one:
        call("Hi.")
    assert [warning.filename for warning in one] == [__file__]
    with warnings.catch_warnings():
        call("Hi.")  # once a process: a second one would be an error


@pytest.mark.parametrize(
    "block",
    [
        override(until="00:00"),
        override(lanes=("standard",)),
        override(deadline=31),
        override(standard_reserve=19),
    ],
)
def test_a_deadline_that_is_no_mistake(block: Any, flextier_sim: Simulator) -> None:
    """A block whose end is near, calls that are to go to standard, and time for flex."""
    policy = FlexPolicy(deadline=20)
    with FlexOpenAI(base_url=flextier_sim.base_url, api_key="x", policy=policy) as client, block:
        client.chat.completions.create(**ASK)
    assert not without_flex._warned_of_deadline
