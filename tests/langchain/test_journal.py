"""LangChain agents that stream, with a journal: started again, they pay for no step twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk

from flextier import track
from tests.batch.conftest import clean_desks, forget
from tests.langchain.helpers import Make, merged, report_of
from tests.langchain.test_continuing import STATE, agent_of

__all__ = ["clean_desks"]

ON_LANES: dict[str, dict[str, Any]] = {
    "flex": {"use_responses_api": False},
    "flex-responses": {"use_responses_api": True},
    "batch": {
        "use_responses_api": False,
        "policy": {"lanes": "batch", "batch_window": 0.05, "batch_poll_interval": 0.05},
    },
    "background": {
        "use_responses_api": True,
        "model": "gpt-6.2-sol",
        "policy": {"lanes": "background-2h", "background_poll_interval": 0.05},
    },
}


async def astream(agent: Any) -> list[str]:
    """The texts of one run on `astream`, which has the model stream."""
    events = agent.astream(STATE, stream_mode="messages")
    chunks = [message async for message, _ in events if isinstance(message, AIMessageChunk)]
    return ["".join(str(chunk.text) for chunk in chunks)]


async def ainvoke(agent: Any) -> list[str]:
    """The texts of one run without streams."""
    said = (await agent.ainvoke(STATE))["messages"]
    return ["".join(str(message.text) for message in said if message.type == "ai")]


async def stream(agent: Any) -> list[str]:
    """The texts of one sync run on `stream`."""
    events = agent.stream(STATE, stream_mode="messages")
    chunks = [message for message, _ in events if isinstance(message, AIMessageChunk)]
    return ["".join(str(chunk.text) for chunk in chunks)]


AGAIN = [
    pytest.param(arguments, again, id=f"{name}-{again.__name__}")
    for name, arguments in ON_LANES.items()
    for again in (astream, stream, ainvoke)
    # LangChain writes other histories after streams of the Responses API than without.
    if again is not ainvoke or not arguments["use_responses_api"]
]


@pytest.mark.parametrize(("arguments", "again"), AGAIN)
async def test_an_agent_on_astream(
    arguments: dict[str, Any], again: Any, make: Make, sim: Any, tmp_path: Path
) -> None:
    """Its next run has every step of the first, and sends nothing."""
    texts, sent = [], []
    policy = {**arguments.get("policy", {}), "journal": str(tmp_path / "calls.db")}
    for run in (astream, again):
        with track() as calls:
            texts.append(await run(agent_of(make(**{**arguments, "policy": policy}))))
        sent.append(len(sim.requests))
        forget()
    assert texts[0] == texts[1]
    assert texts[0] != [""]
    assert len(calls) >= 2
    assert {call.lane for call in calls} == {"journal"}
    assert sent[0] == sent[1] > 0


@pytest.mark.parametrize("use_responses_api", [False, True])
def test_replayed_messages(use_responses_api: bool, make: Make, sim: Any, tmp_path: Path) -> None:
    """A replayed stream has the text, the usage and the report of its call; nothing is paid."""
    messages = []
    for _ in range(2):
        model = make(
            use_responses_api=use_responses_api,
            stream_usage=True,
            policy={"journal": str(tmp_path / "calls.db")},
        )
        messages.append(merged(list(model.stream("A colour?"))))
        forget()
    first, second = messages
    assert (first.text, first.usage_metadata) == (second.text, second.usage_metadata)
    assert second.usage_metadata is not None
    assert report_of(second)["lane"] == "journal"
    assert len(sim.requests) == 1
