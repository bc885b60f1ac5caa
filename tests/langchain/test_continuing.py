"""The calls of one LangChain run share a continuation id; other runs have other ids."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda, RunnableParallel
from langchain_core.tools import tool
from langchain_core.tracers import context as tracers
from langgraph.graph import END, START, MessagesState, StateGraph

from flextier import AsyncFlexOpenAI, FlexOpenAI
from flextier.calls.continuation import continuation, continuation_id
from flextier.calls.run_tracking import start_run_tracking
from flextier.langchain import ChatOpenAIFlex, get_flex_cost_callback, run_tracking
from flextier.sim import Fault
from tests.langchain.conftest import KEY

ASKED = "Use weather, umbrella_price and trains for 'Bergen', 'Oslo' and 'Voss'."
STATE: Any = {"messages": [{"role": "user", "content": ASKED}]}

Make = Callable[..., ChatOpenAIFlex]


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"14 degrees and drizzle in {city}"


@tool
def umbrella_price(city: str) -> str:
    """What an umbrella costs in a city."""
    return f"12 euros in {city}"


@tool
def trains(city: str) -> str:
    """The trains to a city."""
    return f"every hour to {city}"


@pytest.fixture(autouse=True)
def unwatched() -> Iterator[None]:
    """Run tracking is off before and after each test."""
    _unwatch()
    yield
    _unwatch()


def _unwatch() -> None:
    hooks = tracers._configure_hooks
    hooks[:] = [hook for hook in hooks if hook[2] is not run_tracking._RunMarker]
    run_tracking._is_watching = False


def is_tracked() -> bool:
    """Whether LangChain's runs are watched."""
    return any(hook[2] is run_tracking._RunMarker for hook in tracers._configure_hooks)


@pytest.fixture
def run_ids(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The continuation ids of the requests, in order."""
    runs: list[str | None] = []
    request, arequest = FlexOpenAI.request, AsyncFlexOpenAI.request

    def noted(*args: Any, **kwargs: Any) -> Any:
        runs.append(continuation_id())
        return request(*args, **kwargs)

    async def anoted(*args: Any, **kwargs: Any) -> Any:
        runs.append(continuation_id())
        return await arequest(*args, **kwargs)

    monkeypatch.setattr(FlexOpenAI, "request", noted)
    monkeypatch.setattr(AsyncFlexOpenAI, "request", anoted)
    return runs


@pytest.fixture
def model(make: Make) -> ChatOpenAIFlex:
    """A model that may use a background lane, and does not come to it."""
    return make(policy={"lanes": ("flex", "background-2h")})


def agent_of(model: Any) -> Any:
    """An agent of three tools."""
    return create_agent(model, [weather, umbrella_price, trains])


def one_of(runs: list[str | None]) -> str:
    """The run of all these calls, which there are several of."""
    assert len(runs) > 1
    (run,) = set(runs)
    assert run is not None
    assert run.startswith("flextier-")
    return run


# --- one run -------------------------------------------------------------------------------------


def test_the_steps_of_an_agent_are_one_run(
    model: ChatOpenAIFlex, run_ids: list[str | None]
) -> None:
    """An agent's calls share one id; its next run has another."""
    agent = agent_of(model)
    said = agent.invoke(STATE)["messages"]
    assert {m.name for m in said if m.type == "tool"} == {"weather", "umbrella_price", "trains"}
    first = one_of(run_ids)
    run_ids.clear()
    agent.invoke(STATE)
    assert one_of(run_ids) != first


async def test_async(model: ChatOpenAIFlex, run_ids: list[str | None]) -> None:
    """So it is with async agents."""
    agent = agent_of(model)
    await agent.ainvoke(STATE)
    first = one_of(run_ids)
    run_ids.clear()
    await agent.ainvoke(STATE)
    assert one_of(run_ids) != first


@pytest.mark.parametrize("mode", ["values", "messages", "updates"])
async def test_streams(mode: Any, model: ChatOpenAIFlex, run_ids: list[str | None]) -> None:
    """So it is with streamed agents, whether or not their models stream for it."""
    agent = agent_of(model)
    assert list(agent.stream(STATE, stream_mode=mode))
    first = one_of(run_ids)
    run_ids.clear()
    assert [event async for event in agent.astream(STATE, stream_mode=mode)]
    second = one_of(run_ids)
    run_ids.clear()
    assert [event async for event in agent.astream_events(STATE, version="v2")]
    assert len({first, second, one_of(run_ids)}) == 3


async def test_streams_of_a_chain(model: ChatOpenAIFlex, run_ids: list[str | None]) -> None:
    """A chain that streams through two models is one run."""
    chain = model | StrOutputParser() | model
    assert list(chain.stream("A colour?"))
    first = one_of(run_ids)
    run_ids.clear()
    assert [chunk async for chunk in chain.astream("A colour?")]
    assert one_of(run_ids) != first


def test_tools_that_ask_models(model: ChatOpenAIFlex, run_ids: list[str | None]) -> None:
    """Calls inside tools, of an agent inside one too, belong to the run around."""
    inner = agent_of(model)

    @tool
    def weather(city: str) -> str:
        """The weather in a city, of another agent."""
        return str(inner.invoke(STATE)["messages"][-1].content)

    @tool
    def trains(city: str) -> str:
        """The trains to a city, of a model."""
        return str(model.invoke(f"Trains to {city}?").content)

    create_agent(model, [weather, umbrella_price, trains]).invoke(STATE)
    assert len(run_ids) >= 5
    one_of(run_ids)


def test_branches_and_threads(model: ChatOpenAIFlex, run_ids: list[str | None]) -> None:
    """Branches at once, and a batch inside a run, are part of it."""
    branches = RunnableParallel(a=model, b=model)
    lines = RunnableLambda(lambda said: [str(m.content) for m in said.values()]) | model.map()
    (branches | lines).invoke("A colour?")
    assert len(run_ids) == 4
    one_of(run_ids)


async def test_graphs(model: ChatOpenAIFlex, run_ids: list[str | None]) -> None:
    """Nodes of a graph, a graph inside it, and a model called there without a config."""

    def ask(state: MessagesState) -> Any:
        return {"messages": [model.invoke(state["messages"])]}

    def graph(*nodes: Any) -> Any:
        built = StateGraph(MessagesState)
        built.add_sequence([(f"node_{number}", node) for number, node in enumerate(nodes)])
        built.add_edge(START, "node_0")
        built.add_edge(f"node_{len(nodes) - 1}", END)
        return built.compile()

    whole = graph(ask, graph(ask, ask), ask)
    whole.invoke(STATE)
    assert len(run_ids) == 4
    first = one_of(run_ids)
    run_ids.clear()
    await whole.ainvoke(STATE)
    assert one_of(run_ids) != first


def test_all_attempts_of_a_call_share_its_run(
    model: ChatOpenAIFlex, sim: Any, run_ids: list[str | None]
) -> None:
    """All attempts of a call have the same continuation id."""
    asked: list[str | None] = []
    chain = ChatPromptTemplate.from_template("{x}") | model

    class Retries(BaseCallbackHandler):
        def on_retry(self, *_: Any, **__: Any) -> None:
            asked.extend(continuation_id() for _ in range(2))

    sim.script(Fault.refuse(), Fault.refuse())
    chain.invoke({"x": "A colour?"}, {"callbacks": [Retries()]})
    assert len(asked) == 4
    assert one_of([*asked, *run_ids])


def test_what_is_sent(make: Make, sim: Any) -> None:
    """Background responses of an agent carry the name of its run."""
    policy = {"lanes": "background-2h", "background_poll_interval": 0.05}
    agent = agent_of(make(model="gpt-6.2-sol", use_responses_api=True, policy=policy))
    for _ in range(2):
        agent.invoke(STATE)
    sent = [request.body for request in sim.requests if request.method == "POST"]
    names = [body["background_options"]["continuation_id"] for body in sent]
    assert sorted(map(names.count, set(names))) == [2, 2]


# --- several runs --------------------------------------------------------------------------------


async def test_a_model_alone_is_a_run(model: ChatOpenAIFlex, run_ids: list[str | None]) -> None:
    """Every way to ask a model alone: each call is its own run, also of several inputs."""
    model.invoke("1")
    await model.ainvoke("2")
    list(model.stream("3"))
    assert [chunk async for chunk in model.astream("4")]
    model.batch(["5", "6"])
    await model.abatch(["7", "8"])
    model.generate([[HumanMessage("9")], [HumanMessage("10")]])
    assert [event async for event in model.astream_events("11", version="v2")]
    assert len(run_ids) == len(set(run_ids)) == 11
    assert None not in run_ids


async def test_inputs_of_a_batch_are_runs(model: ChatOpenAIFlex, run_ids: list[str | None]) -> None:
    """Each input of a batch of agents or chains is a run of its own."""
    chain: Runnable[Any, Any] = model | StrOutputParser() | model
    await chain.abatch(["A colour?"] * 3)
    chain.batch(["A colour?"] * 3)
    assert sorted(map(run_ids.count, set(run_ids))) == [2] * 6
    run_ids.clear()
    await agent_of(model).abatch([STATE] * 3)
    assert len(set(run_ids)) == 3


async def test_agents_at_once(model: ChatOpenAIFlex, run_ids: list[str | None]) -> None:
    """Agents that run at once, in tasks or threads, are kept apart."""
    agent = agent_of(model)
    await asyncio.gather(*(agent.ainvoke(STATE) for _ in range(3)))
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(agent.invoke, [STATE] * 3))
    assert len(set(run_ids)) == 6
    assert len(run_ids) >= 12


async def test_a_run_named_by_its_caller(model: ChatOpenAIFlex, run_ids: list[str | None]) -> None:
    """An explicit continuation wins, outside a run and inside one."""
    agent = agent_of(model)
    with continuation("order-7"):
        agent.invoke(STATE)
        await agent.ainvoke(STATE)
        list(agent.stream(STATE, stream_mode="messages"))
        list(model.stream("A colour?"))
    assert one_of([f"flextier-{run}" for run in run_ids]) == "flextier-order-7"
    run_ids.clear()

    def named(said: Any) -> Any:
        with continuation("inside"):
            return [model.invoke([said])]

    (model | RunnableLambda(named) | model).invoke("A colour?")
    assert run_ids[1] == "inside"
    assert run_ids[0] == run_ids[2] != run_ids[1]


# --- what it costs -------------------------------------------------------------------------------


def test_runs_are_not_tracked_without_a_background_lane(make: Make) -> None:
    """Without a background lane, LangChain's runs have no handler of ours."""
    chain = make() | StrOutputParser()
    chain.invoke("A colour?")
    list(chain.stream("A colour?"))
    start_run_tracking(("flex", "batch", "standard"))
    assert not is_tracked()


@pytest.mark.parametrize("lanes", ["auto", "background", "flex,background-8h"])
@pytest.mark.parametrize("way", ["policy", "copy", "client", "environment", "block"])
def test_runs_are_tracked_with_a_background_lane(
    lanes: str, way: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a model's policy, that of a copy, of its client, of the environment, or of a block."""
    policy: Any = {"lanes": lanes}
    if way == "policy":
        make(policy=policy)
    elif way == "copy":
        make().model_copy(update={"policy": policy})
    elif way == "client":
        with FlexOpenAI(api_key="sk-fake", policy=policy) as client:
            ChatOpenAIFlex(root_client=client, client=client.chat.completions, api_key=KEY)
    elif way == "environment":
        monkeypatch.setenv("FLEXTIER_LANES", lanes)
        ChatOpenAIFlex(model="o3", api_key=KEY)
    else:
        start_run_tracking(lanes.split(","))
    assert is_tracked()
    make(policy=policy)
    assert [hook[2] for hook in tracers._configure_hooks].count(run_tracking._RunMarker) == 1


def test_a_run_that_began_untracked(make: Make, run_ids: list[str | None]) -> None:
    """The first call starts the tracking: its innermost run counts; the next run is tracked."""
    agent = agent_of(make())
    agent.invoke(STATE)
    assert None not in run_ids
    run_ids.clear()
    agent.invoke(STATE)
    one_of(run_ids)


async def test_ended_runs_are_forgotten(model: ChatOpenAIFlex, sim: Any) -> None:
    """Nothing is kept of a run that has ended, failed, was cancelled, or was left halfway."""
    agent = agent_of(model)
    agent.invoke(STATE)
    sim.script(Fault.status(400))
    with pytest.raises(Exception, match="400"):
        agent.invoke(STATE)
    left = agent.stream(STATE, stream_mode="messages")
    next(left)
    del left
    sim.script(Fault.stall(5))
    task = asyncio.create_task(agent.ainvoke(STATE))
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    del task
    for _ in range(50):  # LangChain notifies of a cancelled run in tasks of its own
        await asyncio.sleep(0.01)
        gc.collect()
        kept = [one for one in gc.get_objects() if isinstance(one, run_tracking._RunMarker)]
        if not kept:
            break
    assert kept == []


def test_other_handlers_are_not_disturbed(model: ChatOpenAIFlex) -> None:
    """Costs are counted as ever, and callbacks given by the caller stay the caller's."""
    mine: list[BaseCallbackHandler] = []
    config: Any = {"callbacks": mine}
    with get_flex_cost_callback() as costs:
        agent_of(model).invoke(STATE, config)
        (model | StrOutputParser()).invoke("A colour?", config)
    assert costs.totals.calls == 3
    assert mine == []
