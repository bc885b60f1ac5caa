"""LangChain's and LlamaIndex's own classes, which build their clients themselves."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware
from langchain.chat_models import init_chat_model

import flextier
from flextier.costs import record_calls
from flextier.langchain import ChatOpenAIFlex, get_flex_cost_callback
from flextier.sim import Fault, Simulator
from tests.langchain.bills import assert_adds_up


def test_a_model_by_its_name(sim: Simulator) -> None:
    """Plain, streamed, async and in threads: on flex through refusals, and all is counted."""
    flextier.install(policy={"backoff_initial": 0.01})
    sim.script(*[Fault.refuse().on(lane="flex")] * 3)
    with record_calls(scope="process") as totals, get_flex_cost_callback() as counted:
        model = init_chat_model("openai:o4-mini")
        model.invoke("Name a colour.")
        list(model.stream("Name a colour."))
        asyncio.run(model.ainvoke("Name a colour."))
        in_context = counted.totals.calls
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(model.invoke, ["Name a colour."] * 3))
    assert_adds_up(totals, sim)
    assert totals.by_lane["flex"].calls == totals.calls == 6
    assert in_context == 3


def test_the_limits_of_a_call(sim: Simulator) -> None:
    """LangChain passes no timeout, and an HTTP client without one: the policy's apply."""
    flextier.install()
    with flextier.track() as calls:
        init_chat_model("openai:o4-mini").invoke("Name a colour.")
        init_chat_model("openai:o4-mini", timeout=9).invoke("Name a colour.")
    assert [str(call.limits).split(", ")[1] for call in calls] == [
        "flex_timeout 900 s (default)",
        "flex_timeout 9 s (timeout)",
    ]


def test_an_agent_with_a_fallback(sim: Simulator) -> None:
    """The second model, too, is on the lanes."""
    flextier.install(policy={"lanes": ("flex",), "patience": 0})
    sim.script(Fault.refuse().on(lane="flex"))
    fallback = ModelFallbackMiddleware("openai:gpt-5-mini")
    agent = create_agent("openai:o4-mini", middleware=[fallback])
    with flextier.track() as calls:
        agent.invoke({"messages": [("user", "Name a colour.")]})
    assert [(call.model, call.served, call.lane) for call in calls] == [
        ("o4-mini", False, "flex"),
        ("gpt-5-mini", True, "flex"),
    ]


def test_our_own_class(sim: Simulator) -> None:
    """Its policy and its reports are as without install()."""
    flextier.install(policy={"deadline": 99})
    model = ChatOpenAIFlex(model="o4-mini", policy={"deadline": 50})
    answer = model.invoke("Name a colour.")
    assert answer.response_metadata["flextier"]["lane"] == "flex"
    assert model.root_client.policy.deadline == 50


@pytest.mark.skipif(
    find_spec("llama_index") is None, reason="LlamaIndex is not installed: it takes openai<3"
)
def test_llama_index(sim: Simulator) -> None:
    """Its own classes are on the lanes, sync and async, with the timeout that they pass."""
    from llama_index.llms.openai import OpenAI, OpenAIResponses

    flextier.install()
    with flextier.track() as calls:
        for llm in (OpenAI, OpenAIResponses):
            model = llm(model="o4-mini", api_base=sim.base_url, timeout=40)
            model.complete("Name a colour.")
            asyncio.run(model.acomplete("Name a colour."))
    assert [call.lane for call in calls] == ["flex"] * 4
    assert {str(call.limits).split(", ")[1] for call in calls} == {"flex_timeout 40 s (timeout)"}
