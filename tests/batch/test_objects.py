"""What a call gets by batch, and from the journal, is what a direct call gets: the same objects."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from flextier import FlexOpenAI, track
from flextier.sim import Simulator
from tests.batch.conftest import forget
from tests.batch.crowd import POLICY, options
from tests.client.callers import KEY


class Colour(BaseModel):
    """A colour."""

    name: str
    bright: bool


WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": WEATHER}}
PICTURE = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg=="


def chat(client: Any, **more: Any) -> Any:
    """A chat completion."""
    body = {"model": "o3", "messages": [{"role": "user", "content": "Name a colour."}]}
    return client.chat.completions.create(**{**body, **more})


KINDS: dict[str, Any] = {
    "chat": chat,
    "chat-tools": lambda c: chat(c, tools=[TOOL], tool_choice="required"),
    "chat-schema": lambda c: chat(
        c,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "weather", "schema": WEATHER, "strict": True},
        },
    ),
    "chat-parse": lambda c: c.chat.completions.parse(
        model="o3", messages=[{"role": "user", "content": "A colour?"}], response_format=Colour
    ),
    "chat-picture": lambda c: chat(
        c,
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is that?"},
                    {"type": "image_url", "image_url": {"url": PICTURE}},
                ],
            }
        ],
    ),
    "chat-umlauts": lambda c: chat(c, messages=[{"role": "user", "content": "Größe \U0001f389?"}]),
    "chat-choices": lambda c: chat(c, n=2),
    "responses": lambda c: c.responses.create(model="o3", input="Name a colour."),
    "responses-tools": lambda c: c.responses.create(
        model="o3",
        input="The weather in Paris?",
        tools=[{"type": "function", "name": "weather", "parameters": WEATHER, "strict": True}],
        tool_choice="required",
    ),
    "responses-parse": lambda c: c.responses.parse(
        model="o3", input="A colour?", text_format=Colour
    ),
    "responses-picture": lambda c: c.responses.create(
        model="o3",
        input=[
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "What is that?"},
                    {"type": "input_image", "image_url": PICTURE, "detail": "auto"},
                ],
            }
        ],
    ),
}
VARIES = {
    "_request_id", "id", "created", "created_at", "completed_at", "service_tier", "call_id",
    "prompt_tokens_details", "input_tokens_details",
}  # fmt: skip


def shape(value: Any) -> Any:
    """The object without what differs from call to call."""
    if isinstance(value, BaseModel):
        return type(value), shape(value.__dict__)
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items() if key not in VARIES}
    return [shape(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_same_object(kind: Any, sim: Simulator, tmp_path: Path) -> None:
    """Direct, by batch, and from the journal: equal but for ids, times and the tier."""
    made = options(sim, POLICY.replace(journal=str(tmp_path / "calls.db")))
    with openai.OpenAI(base_url=sim.base_url, api_key=KEY) as plain:
        direct = kind(plain)
    with FlexOpenAI(**made) as client, track() as reports:
        batched = kind(client)
        forget()
        kept = kind(client)
    assert [report.lane for report in reports] == ["batch", "journal"]
    assert shape(batched) == shape(direct)
    assert shape(kept) == shape(direct)
    assert kept.id == batched.id
    assert batched._request_id


@pytest.mark.parametrize("journal", [False, True], ids=["batch", "journal"])
def test_a_raw_response(journal: bool, sim: Simulator, tmp_path: Path) -> None:
    """with_raw_response has a status, headers with the request id, JSON, and the parsed answer."""
    made = options(sim, POLICY.replace(journal=str(tmp_path / "calls.db")))
    with FlexOpenAI(**made) as client:
        for _ in range(1 + journal):
            forget()
            raw = client.chat.completions.with_raw_response.create(
                model="o3", messages=[{"role": "user", "content": "So?"}]
            )
    assert raw.http_response.status_code == 200
    assert raw.headers["x-request-id"] == raw.request_id
    assert raw.parse().choices[0].message.content == "[simulated] So?"
    assert raw.http_response.json()["object"] == "chat.completion"
    assert str(raw.http_request.url).endswith("/chat/completions")
    assert raw.elapsed.total_seconds() >= 0


def test_an_answer_that_the_parser_does_not_take(sim: Simulator) -> None:
    """parse() raises as on a direct call, and the answer is billed in the report."""
    with (
        FlexOpenAI(**options(sim)) as client,
        track() as reports,
        pytest.raises(openai.LengthFinishReasonError),
    ):
        client.chat.completions.parse(
            model="o3",
            messages=[{"role": "user", "content": "A colour?"}],
            response_format=Colour,
            max_completion_tokens=2,
        )
    assert sim.paid()["payments"] == 1
    assert reports[0].lane == "batch"
    assert reports[0].usage is not None


# --- frameworks -------------------------------------------------------------------------------


@pytest.fixture
def model(sim: Simulator) -> Any:
    """LangChain's chat model, by batch."""
    from flextier.langchain import ChatOpenAIFlex

    return ChatOpenAIFlex(
        model="o3", base_url=sim.base_url, api_key=KEY, policy=POLICY.replace(batch_window=0.2)
    )


async def test_langchain_abatch(model: Any, sim: Simulator) -> None:
    """abatch() is one file."""
    asked = [f"What of number {n}?" for n in range(5)]
    said = await model.abatch(asked)
    assert [message.content for message in said] == [f"[simulated] {q}" for q in asked]
    assert {m.response_metadata["flextier"]["lane"] for m in said} == {"batch"}
    assert sim.stats()["batches"]["created"] == 1


def test_langchain_structured_output(model: Any, sim: Simulator) -> None:
    """with_structured_output() gives the class that was asked for."""
    assert isinstance(model.with_structured_output(Colour).invoke("A colour?"), Colour)
    assert sim.stats()["batches"]["created"] == 1


def test_langchain_tools(model: Any, sim: Simulator) -> None:
    """Tool calls come through."""
    said = model.bind_tools([TOOL], tool_choice="weather").invoke("The weather in Paris?")
    assert said.tool_calls[0]["name"] == "weather"


def test_langchain_agent(model: Any, sim: Simulator) -> None:
    """An agent's steps are batches, one after another."""
    from langchain.agents import create_agent

    def weather(city: str) -> str:
        """The weather of a city."""
        return f"Sunny in {city}."

    agent = create_agent(model, [weather])
    said = agent.invoke({"messages": [{"role": "user", "content": "Call weather for Paris."}]})
    assert "Sunny in" in said["messages"][-1].content
    assert sim.stats()["batches"]["created"] == 2


needs_llama_index = pytest.mark.skipif(
    find_spec("llama_index") is None, reason="LlamaIndex needs openai 2.x"
)


@needs_llama_index
async def test_llama_index(sim: Simulator) -> None:
    """achat() and astructured_predict() by batch."""
    from llama_index.core.llms import ChatMessage
    from llama_index.core.prompts import PromptTemplate

    from flextier.llama_index import OpenAIFlex

    llm = OpenAIFlex(model="o3", api_key=KEY, api_base=sim.base_url, policy=POLICY)
    with track() as reports:
        said = await llm.achat([ChatMessage(role="user", content="So?")])
        colour = await llm.astructured_predict(Colour, PromptTemplate("A colour?"))
    assert said.message.content == "[simulated] So?"
    assert isinstance(colour, Colour)
    assert [report.lane for report in reports] == ["batch", "batch"]
