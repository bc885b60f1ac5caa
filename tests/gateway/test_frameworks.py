"""LangChain, LlamaIndex and datasets through a gateway; the deferred lanes."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from flextier import AsyncFlexOpenAI, FlexOpenAI, track
from flextier.bulk import run
from flextier.langchain import ChatOpenAIFlex, FlexCostCallbackHandler
from flextier.sim import Fault, Simulator
from tests.bulk.helpers import write_jsonl
from tests.client.callers import KEY
from tests.gateway.conftest import Seen
from tests.serve.conftest import KEY as GATEWAYS_KEY
from tests.serve.conftest import Served, gateway

DEFERRED: dict[str, Any] = {
    "batch_window": 0.2,
    "batch_poll_interval": 0.1,
    "background_poll_interval": 0.1,
    "deadline": "8h",
}


class Retries(FlexCostCallbackHandler):
    """Notes retries, too."""

    def __init__(self) -> None:
        super().__init__()
        self.retries: list[Any] = []

    def on_retry(self, retry_state: Any, **kwargs: Any) -> Any:
        """Note a retry."""
        self.retries.append((retry_state.lane, retry_state.cause))


@pytest.mark.parametrize("streamed", [False, True])
def test_langchain(
    streamed: bool, shared: Served, sim: Simulator, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Metadata, costs and retries are those of a call without a gateway."""
    monkeypatch.setenv("OPENAI_BASE_URL", sim.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    outcomes = []
    for gateway_url in ("", shared.url):
        monkeypatch.setenv("FLEXTIER_GATEWAY", gateway_url)
        sim.reset()
        sim.script(Fault.refuse())
        handler = Retries()
        model = ChatOpenAIFlex(
            model="gpt-5-mini",
            callbacks=[handler],
            tags=["night"],
            policy={"backoff_initial": 0.05},
        )
        if streamed:
            message: Any = None
            for chunk in model.stream("Why is it blue?"):
                message = chunk if message is None else message + chunk
        else:
            message = model.invoke("Why is it blue?")
        found = message.response_metadata["flextier"]
        assert handler.totals.cost > 0
        outcomes.append(
            (found["lane"], handler.totals.cost, handler.retries, message.text, set(found))
        )
    here, there = outcomes
    assert there == here
    assert json.loads(seen.calls[0][1]["x-flextier-tags"]) == ["night"]
    assert there[2] == [("flex", "capacity")]
    assert sim.requests[-1].headers["authorization"] == f"Bearer {GATEWAYS_KEY}"


@pytest.mark.skipif(find_spec("llama_index") is None, reason="LlamaIndex is not installed")
def test_llama_index(shared: Served, sim: Simulator, seen: Seen) -> None:
    """Its metadata, costs and tags."""
    from llama_index.core.instrumentation.dispatcher import instrument_tags

    from flextier.llama_index import FlexCostEventHandler, OpenAIFlex

    with FlexCostEventHandler() as handler, instrument_tags({"job": "night"}):
        model = OpenAIFlex(
            model="gpt-5-mini", api_base=sim.base_url, api_key=KEY, policy={"gateway": shared.url}
        )
        answer = model.complete("Why is it blue?")
    assert answer.additional_kwargs["flextier"]["lane"] == "flex"
    assert json.loads(seen.calls[0][1]["x-flextier-tags"]) == ["job:night"]
    assert handler.totals.cost > Decimal(0)
    assert sim.requests[-1].headers["authorization"] == f"Bearer {GATEWAYS_KEY}"


@pytest.mark.parametrize("lane", ["batch", "background"])
def test_deferred_lanes(lane: str, sim: Simulator, seen: Seen) -> None:
    """Calls of clients wait at the gateway, and their reports name the lane."""

    async def run(url: str) -> list[Any]:
        policy = {"lanes": lane, "gateway": url}
        async with AsyncFlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=policy) as client:
            made = [
                client.responses.create(model="gpt-6.2-sol", input=f"Cat {number}?")
                for number in range(4)
            ]
            return await asyncio.gather(*made)

    with gateway(sim, policy=DEFERRED) as served, track() as calls:
        answers = asyncio.run(run(served.url))
    assert all(answer.output_text for answer in answers)
    assert {call.lane for call in calls} == {"batch" if lane == "batch" else "background-2h"}
    assert len(seen.calls) == 4
    assert sim.paid()["twice"] == []


def test_a_dataset(
    shared: Served, sim: Simulator, seen: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its journal is the gateway's."""
    monkeypatch.setenv("FLEXTIER_GATEWAY", shared.url)
    write_jsonl(tmp_path / "in.jsonl", [{"text": f"Cat {number}?"} for number in range(6)])
    with FlexOpenAI(base_url=sim.base_url, api_key=KEY) as client:

        def ask(row: dict[str, Any]) -> str:
            return client.responses.create(model="gpt-5-mini", input=row["text"]).output_text

        result = run(ask, tmp_path / "in.jsonl", tmp_path / "out.jsonl", progress=None)
    assert (result.done, result.failed) == (6, 0)
    assert len(seen.calls) == 6
