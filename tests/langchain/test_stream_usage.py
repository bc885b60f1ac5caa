"""Chat streams of ChatOpenAIFlex are priced, whatever the model's ``stream_usage`` says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from flextier import CallReport, track
from flextier.langchain import ChatOpenAIFlex
from flextier.sim import Simulator
from tests.client.callers import KEY


def stream(llm: ChatOpenAI, *, is_async: bool, **arguments: Any) -> tuple[list[Any], CallReport]:
    """The chunks of a stream, and the call's report."""

    async def acall() -> list[Any]:
        return [chunk async for chunk in llm.astream("Name a colour.", **arguments)]

    with track() as calls:
        chunks = (
            asyncio.run(acall()) if is_async else list(llm.stream("Name a colour.", **arguments))
        )
    return chunks, calls[0]


def make(sim: Simulator, cls: Any = ChatOpenAIFlex, **arguments: Any) -> Any:
    """A model on Chat Completions, with a base URL: the parent requests no usage there."""
    return cls(model="o3", base_url=sim.base_url, api_key=SecretStr(KEY), **arguments)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_gateways_stream_is_priced(is_async: bool, sim: Simulator) -> None:
    """The report has the usage; the chunks are the parent's, which has none."""
    chunks, report = stream(make(sim), is_async=is_async)
    theirs = list(make(sim, ChatOpenAI).stream("Name a colour."))

    assert report.cost.basis == "exact"
    assert [chunk.content for chunk in chunks] == [chunk.content for chunk in theirs]
    assert not any(chunk.usage_metadata for chunk in chunks)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("settings", "arguments"),
    [
        ({"stream_usage": False}, {}),
        ({}, {"stream_usage": False}),
        ({"stream_usage": False, "model_kwargs": {"extra_headers": {"x-team": "a"}}}, {}),
    ],
)
def test_explicit_stream_usage_is_not_changed(
    settings: Any, arguments: Any, is_async: bool, sim: Simulator
) -> None:
    """With ``stream_usage=False`` nothing is requested, and the cost is unknown."""
    _, report = stream(make(sim, **settings), is_async=is_async, **arguments)

    assert "stream_options" not in sim.requests[0].body
    assert ("x-team" in sim.requests[0].headers) == ("model_kwargs" in settings)
    assert not any("flextier" in header for header in sim.requests[0].headers)
    assert report.cost.basis == "unpriced"


def test_a_call_overrides_the_model(sim: Simulator) -> None:
    """``stream_usage=True`` of a call requests the usage, and has the chunk with it."""
    chunks, report = stream(make(sim, stream_usage=False), is_async=False, stream_usage=True)

    assert any(chunk.usage_metadata for chunk in chunks)
    assert report.cost.basis == "exact"
