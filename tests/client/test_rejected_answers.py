"""An answer that the caller's own parser rejects: raised where the SDK does, with its report."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from pydantic import BaseModel, ValidationError

from flextier import AsyncFlexOpenAI, FlexOpenAI, report_of, track
from flextier._openai.http_library import http
from flextier.sim import Fault, Simulator
from tests.batch.conftest import forget
from tests.client.callers import FAST, KEY
from tests.client.hostile_server import chat

CALLS: dict[str, dict[str, Any]] = {
    "chat": {"messages": [{"role": "user", "content": "A colour?"}]},
    "responses": {"input": "A colour?"},
}


class Colour(BaseModel):
    """What is wanted."""

    name: str


def options(sim: Simulator, **knobs: Any) -> dict[str, Any]:
    return {"base_url": sim.base_url, "api_key": KEY, "policy": FAST.replace(**knobs)}


def parse(client: Any, api: str, **limits: Any) -> Any:
    """The raw response of the SDK's ``parse``, or the coroutine of it."""
    resource = client.chat.completions if api == "chat" else client.responses
    schema = {"response_format" if api == "chat" else "text_format": Colour}
    return resource.with_raw_response.parse(model="o3", **CALLS[api], **schema, **limits)


@pytest.mark.parametrize("api", CALLS)
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_raw_response_raises_in_its_parse(api: str, is_async: bool, sim: Simulator) -> None:
    """The call itself returns: status, headers and body can be read."""

    async def araw() -> Any:
        async with AsyncFlexOpenAI(**options(sim)) as client:
            return await parse(client, api)

    sim.script(Fault.serve(text="red"))
    with track() as calls:
        if is_async:
            raw = asyncio.run(araw())
        else:
            with FlexOpenAI(**options(sim)) as client:
                raw = parse(client, api)
    assert raw.http_response.status_code == 200
    assert "red" in raw.text
    for _ in range(2):
        with pytest.raises(ValidationError) as caught:
            raw.parse()
        assert report_of(caught.value) is calls[0]
    assert calls[0].served
    assert calls[0].error == "ValidationError"
    assert len(sim.requests) == 1


def test_an_answer_that_was_cut(sim: Simulator) -> None:
    """The same for the SDK's own check of the end of an answer."""
    with FlexOpenAI(**options(sim)) as client:
        raw = parse(client, "chat", max_completion_tokens=1)
    with pytest.raises(openai.LengthFinishReasonError):
        raw.parse()


def test_an_answer_from_the_journal(sim: Simulator, tmp_path: Any) -> None:
    """A replayed answer is rejected in the same place."""
    sim.script(Fault.serve(text="red"))
    for _ in range(2):
        forget()
        with FlexOpenAI(**options(sim, journal=str(tmp_path / "calls.db"))) as client:
            raw = parse(client, "chat")
        with pytest.raises(ValidationError):
            raw.parse()
    assert len(sim.requests) == 1


def test_strict_validation() -> None:
    """The SDK's own validation of types; another type that is asked for may fit."""
    body = chat("o3", "default") | {"created": "yesterday"}
    transport = http.MockTransport(lambda request: http.Response(200, json=body))
    with FlexOpenAI(
        base_url="http://sim.invalid/v1",
        api_key=KEY,
        http_client=http.Client(transport=transport),
        _strict_response_validation=True,
    ) as client:
        raw = client.chat.completions.with_raw_response.create(model="o3", **CALLS["chat"])
    with pytest.raises(openai.APIResponseValidationError):
        raw.parse()
    assert raw.parse(to=dict[str, Any])["created"] == "yesterday"
