"""LlamaIndex agents that stream, with a journal: started again, they pay for no step twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentStream, FunctionAgent
from llama_index.core.base.llms.types import ChatMessage

from flextier import track
from flextier.llama_index import OpenAIFlex, OpenAIResponsesFlex
from flextier.sim import Simulator
from tests.batch.conftest import clean_desks, forget
from tests.client.callers import FAST
from tests.llama_index.llms import OURS, make
from tests.llama_index.test_continuing import ASKED, memory

__all__ = ["clean_desks"]

# LlamaIndex's agents use what pydantic deprecates.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecationWarning")


# Coroutines: sync tools run in threads, and their results are in the order in which these end.
async def weather(city: str) -> str:
    """The weather in a city."""
    return f"14 degrees and drizzle in {city}."


async def umbrella_price(city: str) -> str:
    """What an umbrella costs in a city."""
    return f"12 euros in {city}."


async def trains(city: str) -> str:
    """The trains to a city."""
    return f"Every hour to {city}."


BATCH = {"lanes": ("batch",), "batch_window": 0.05, "batch_poll_interval": 0.05}
BACKGROUND = {"lanes": ("background-2h",), "background_poll_interval": 0.05}
ON_LANES = {
    "flex": (OpenAIFlex, "o3", {}),
    "flex-responses": (OpenAIResponsesFlex, "o3", {}),
    "batch": (OpenAIFlex, "o3", BATCH),
    "background": (OpenAIResponsesFlex, "gpt-6.2-sol", BACKGROUND),
}


async def run(llm: Any) -> tuple[str, set[str], str]:
    """One run of an agent: its answer, the tools that it used, and what it streamed."""
    agent = FunctionAgent(llm=llm, tools=[weather, umbrella_price, trains], streaming=True)
    handler = agent.run(ASKED, memory=memory())
    streamed = [e.delta async for e in handler.stream_events() if isinstance(e, AgentStream)]
    answer = await handler
    return str(answer), {used.tool_name for used in answer.tool_calls}, "".join(streamed)


@pytest.mark.parametrize(("cls", "model", "policy"), ON_LANES.values(), ids=ON_LANES)
async def test_an_agent_that_streams(
    cls: Any, model: str, policy: dict[str, Any], sim: Simulator, tmp_path: Path
) -> None:
    """Its second run has every step of the first, from whatever lane, and sends nothing."""
    runs, sent = [], []
    for _ in range(2):
        knobs = FAST.replace(journal=str(tmp_path / "calls.db"), **policy)
        llm = make(cls, sim, model=model, policy=knobs, context_window=99_000)
        with track() as calls:
            runs.append(await run(llm))
        sent.append(len(sim.requests))
        forget()
    assert runs[0] == runs[1]
    assert runs[0][1] == {"weather", "umbrella_price", "trains"}
    assert runs[0][2]
    assert len(calls) >= 2
    assert {call.lane for call in calls} == {"journal"}
    assert sent[0] == sent[1] > 0


@pytest.mark.parametrize("cls", OURS)
async def test_every_way_to_stream(cls: Any, sim: Simulator, tmp_path: Path) -> None:
    """Chat and completion, sync and async, to the end: each is paid for once."""
    streams = []
    for _ in range(2):
        llm = make(cls, sim, policy=FAST.replace(journal=str(tmp_path / "calls.db")))
        asked = [ChatMessage("A colour?")]
        chunks = [
            list(llm.stream_chat(asked)),
            [chunk async for chunk in await llm.astream_chat(asked)],
            list(llm.stream_complete("A colour?")),
            [chunk async for chunk in await llm.astream_complete("A colour?")],
        ]
        streams.append([str(one[-1]) for one in chunks])
        reports = [one[-1].additional_kwargs["flextier"]["lane"] for one in chunks]
        forget()
    assert streams[0] == streams[1]
    assert reports == ["journal"] * 4
    assert len(sim.requests) == 4
