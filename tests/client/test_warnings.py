"""Warnings of a call point to the line of the user's program that makes it."""

from __future__ import annotations

from typing import Any

import pytest

from flextier import AsyncFlexOpenAI, FlexOpenAI, FlexPolicy
from flextier.lanes import eligibility
from flextier.sim import Fault, Simulator

ASK: dict[str, Any] = {"model": "o3", "messages": [{"role": "user", "content": "Hi."}]}
TROUBLE = [
    (FlexPolicy(lanes=("batch", "standard")), [], "instead of batch"),
    (FlexPolicy(), [Fault.unverified()], "verified organisations"),
]


@pytest.fixture(autouse=True)
def not_warned() -> None:
    """A lane that cannot take calls is warned about once a process."""
    eligibility.warn_ineligible.cache_clear()


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
