"""The calls of one LlamaIndex run share a continuation id; other runs have other ids."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from typing import Any

import pytest
from llama_index.core import SummaryIndex
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent, ReActAgent
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.chat_engine.types import ChatMode
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.schema import TextNode
from llama_index.core.workflow import Context as Flow
from llama_index.core.workflow import Event, StartEvent, StopEvent, Workflow, step
from llama_index_instrumentation import get_dispatcher
from workflows.errors import WorkflowCancelledByUser

from flextier import AsyncFlexOpenAI, FlexOpenAI
from flextier.calls.continuation import continuation, continuation_id
from flextier.calls.run_tracking import start_run_tracking
from flextier.llama_index import OpenAIResponsesFlex, run_tracking
from flextier.sim import Fault, Simulator
from tests.client.callers import FAST, KEY
from tests.llama_index.llms import OURS, make

# LlamaIndex's structured LLM and agents use what pydantic deprecates.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecationWarning")

ASKED = "Use weather, umbrella_price and trains for 'Bergen', 'Oslo' and 'Voss'."
ROUTED = FAST.replace(lanes=("flex", "background-2h"))
TEXTS = [f"About a {word}." for word in ("bird", "fish", "tree")]


def weather(city: str) -> str:
    """The weather in a city."""
    return f"14 degrees and drizzle in {city}."


def umbrella_price(city: str) -> str:
    """What an umbrella costs in a city."""
    return f"12 euros in {city}."


def trains(city: str) -> str:
    """The trains to a city."""
    return f"Every hour to {city}."


@pytest.fixture(autouse=True)
def unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run tracking is off before and after each test."""
    root = get_dispatcher()
    others = [one for one in root.span_handlers if one is not run_tracking._span_handler]
    monkeypatch.setattr(root, "span_handlers", others)


def watches() -> int:
    """How many watch LlamaIndex's runs."""
    return sum(one is run_tracking._span_handler for one in get_dispatcher().span_handlers)


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


@pytest.fixture(params=OURS, ids=lambda cls: cls.__name__)
def llm(request: pytest.FixtureRequest, sim: Simulator) -> Any:
    """An LLM that may use a background lane, and does not come to it."""
    return make(request.param, sim, policy=ROUTED, context_window=2500)


def agent_of(llm: Any, **arguments: Any) -> FunctionAgent:
    """An agent of three tools."""
    return FunctionAgent(llm=llm, tools=[weather, umbrella_price, trains], **arguments)


def memory() -> ChatMemoryBuffer:
    """A memory that counts its tokens without a tokenizer, which would be downloaded."""
    return ChatMemoryBuffer.from_defaults(token_limit=10_000, tokenizer_fn=str.split)


def engine_of(llm: Any, **arguments: Any) -> Any:
    """A query engine over texts that take several calls."""
    index = SummaryIndex([TextNode(text=text) for text in TEXTS])
    mode = ResponseMode.ACCUMULATE
    return index.as_query_engine(llm=llm, **{"response_mode": mode, **arguments})


def one_of(runs: list[str | None]) -> str:
    """The run of all these calls, which there are several of."""
    assert len(runs) > 1
    (run,) = set(runs)
    assert run is not None
    assert run.startswith("flextier-")
    return run


async def run_twice(run_ids: list[str | None], ask: Callable[[], Any]) -> None:
    """Run ``ask`` twice: the calls of each run share one id, and the two ids differ."""
    runs = []
    for _ in range(2):
        run_ids.clear()
        await ask()
        runs.append(one_of(run_ids))
    assert runs[0] != runs[1]


# --- one run -------------------------------------------------------------------------------------


@pytest.mark.parametrize("streaming", [False, True])
async def test_the_steps_of_an_agent_are_one_run(
    streaming: bool, llm: Any, run_ids: list[str | None]
) -> None:
    """An agent's calls share one id; its next run has another."""
    agent = agent_of(llm, streaming=streaming)

    async def ask() -> None:
        answer = await agent.run(ASKED, memory=memory())
        assert {used.tool_name for used in answer.tool_calls} == {
            "weather",
            "umbrella_price",
            "trains",
        }

    await run_twice(run_ids, ask)


async def test_an_agent_workflow(llm: Any, run_ids: list[str | None]) -> None:
    """Agents that hand over to each other are one run."""
    rest: dict[str, Any] = {"llm": llm, "streaming": False, "description": "An agent."}
    first = FunctionAgent(name="first", tools=[], can_handoff_to=["second"], **rest)
    second = FunctionAgent(name="second", tools=[weather], can_handoff_to=[], **rest)

    async def ask() -> None:
        flow = AgentWorkflow(agents=[first, second], root_agent="first")
        await flow.run("handoff to 'second' for 'the weather'.", memory=memory())

    await run_twice(run_ids, ask)


@pytest.mark.filterwarnings("ignore:is_running called from within a step")  # LlamaIndex itself
async def test_a_react_agent(llm: Any, sim: Simulator, run_ids: list[str | None]) -> None:
    """An agent that reads its steps out of plain text is one run."""
    steps = [
        'Thought: I need a tool.\nAction: weather\nAction Input: {"city": "Bergen"}',
        "Thought: I can answer.\nAnswer: It drizzles.",
    ]

    async def ask() -> None:
        sim.script(*(Fault.serve(text=text) for text in steps))
        agent = ReActAgent(llm=llm, tools=[weather], streaming=False)
        await agent.run("The weather in Bergen?", memory=memory())

    await run_twice(run_ids, ask)


class _Asked(Event):
    number: int


class _Answered(Event):
    pass


class _Flow(Workflow):
    """A workflow of the user's own: a call, three at once, an engine, and an agent inside."""

    llm: Any

    @step
    async def begin(self, ctx: Flow, ev: StartEvent) -> _Asked | None:
        """Ask, and ask for more."""
        await self.llm.achat([ChatMessage("A colour?")])
        for number in range(3):
            ctx.send_event(_Asked(number=number))
        return None

    @step(num_workers=3)
    async def go_on(self, ev: _Asked) -> _Answered:
        """One of three at once."""
        await self.llm.acomplete(f"Colour {ev.number}?")
        return _Answered()

    @step
    async def end(self, ctx: Flow, ev: _Answered) -> StopEvent | None:
        """An engine and an agent, when all three have answered."""
        if ctx.collect_events(ev, [_Answered] * 3) is None:
            return None
        await engine_of(self.llm).aquery("What are they?")
        await agent_of(self.llm).run(ASKED, memory=memory())
        await asyncio.to_thread(self.llm.complete, "A thread's colour?")
        return StopEvent(result="done")


async def test_a_workflow_of_the_users(llm: Any, run_ids: list[str | None]) -> None:
    """Its steps, at once or not, engines, agents and threads inside are one run."""
    flow = _Flow()
    flow.llm = llm

    async def ask() -> None:
        assert await flow.run() == "done"
        assert len(run_ids) >= 8

    await run_twice(run_ids, ask)


async def test_tools_that_ask(llm: Any, run_ids: list[str | None]) -> None:
    """Calls inside an agent's tools belong to its run."""
    engine = engine_of(llm)

    async def weather(city: str) -> str:
        """The weather in a city."""
        return str(await engine.aquery(f"What of {city}?"))

    def trains(city: str) -> str:
        """The trains to a city."""
        return str(llm.complete(f"Trains to {city}?"))

    async def ask() -> None:
        agent = FunctionAgent(llm=llm, tools=[weather, umbrella_price, trains])
        await agent.run(ASKED, memory=memory())

    await run_twice(run_ids, ask)


async def test_query_engines(llm: Any, run_ids: list[str | None]) -> None:
    """The calls of one query are one run, those at once too."""
    at_once = engine_of(llm, use_async=True)

    async def ask() -> None:
        engine_of(llm).query("What are they?")

    async def aask() -> None:
        await at_once.aquery("What are they?")

    await run_twice(run_ids, ask)
    await run_twice(run_ids, aask)


async def test_chat_engines(llm: Any, run_ids: list[str | None]) -> None:
    """The calls of one turn are one run, streamed ones too; the next turn is another."""
    index = SummaryIndex([TextNode(text=text) for text in TEXTS])
    engine = index.as_chat_engine(
        llm=llm, chat_mode=ChatMode.CONDENSE_QUESTION, memory=memory(), verbose=False
    )

    async def ask() -> None:
        engine.chat("What are they?")

    async def aask() -> None:
        await engine.achat("What are they?")

    async def stream() -> None:
        assert "".join(engine.stream_chat("What are they?").response_gen)

    await ask()
    for turn in (ask, aask, stream):
        await run_twice(run_ids, turn)


async def test_what_is_sent(sim: Simulator) -> None:
    """Background responses of an agent carry the name of its run."""
    policy = FAST.replace(lanes=("background-2h",), background_poll_interval=0.05)
    agent = agent_of(
        make(OpenAIResponsesFlex, sim, model="gpt-6.2-sol", policy=policy, context_window=99_000)
    )
    agent.streaming = False
    for _ in range(2):
        await agent.run(ASKED, memory=memory())
    sent = [request.body for request in sim.requests if request.method == "POST"]
    names = [body["background_options"]["continuation_id"] for body in sent if body]
    assert sorted(map(names.count, set(names))) == [2, 2]


# --- several runs --------------------------------------------------------------------------------


async def test_a_bare_call_is_a_run(llm: Any, run_ids: list[str | None]) -> None:
    """Each call of an LLM outside a run is a run of its own, however it is made."""
    asked = [ChatMessage("A colour?")]
    llm.chat(asked)
    await llm.achat(asked)
    list(llm.stream_chat(asked))
    assert [chunk async for chunk in await llm.astream_chat(asked)]
    llm.complete("A colour?")
    await llm.acomplete("A colour?")
    list(llm.stream_complete("A colour?"))
    await asyncio.gather(*(llm.acomplete("A colour?") for _ in range(3)))
    llm._chat(asked)
    assert len(run_ids) == len(set(run_ids)) == 11
    assert None not in run_ids


async def test_runs_at_once(llm: Any, run_ids: list[str | None]) -> None:
    """Runs in tasks or threads at once are kept apart, begun by one task too."""
    agent = agent_of(llm)
    await asyncio.gather(*(agent.run(ASKED, memory=memory()) for _ in range(3)))
    begun = [agent.run(ASKED, memory=memory()) for _ in range(3)]
    await asyncio.gather(*begun)
    assert len(set(run_ids)) == 6
    assert len(run_ids) >= 12
    run_ids.clear()
    engine = engine_of(llm)
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(engine.query, ["What are they?"] * 3))
    assert len(set(run_ids)) == 3
    assert len(run_ids) >= 6


async def test_queries_inside_a_span_of_the_users(llm: Any, run_ids: list[str | None]) -> None:
    """A function of the user's that is traced makes no run of what it does."""

    @get_dispatcher().span
    def whole() -> None:
        for _ in range(2):
            engine_of(llm).query("What are they?")

    whole()
    assert len(set(run_ids)) == 2


async def test_a_run_named_by_its_caller(llm: Any, run_ids: list[str | None]) -> None:
    """An explicit continuation wins, outside a run and inside one."""
    with continuation("order-7"):
        await agent_of(llm).run(ASKED, memory=memory())
        engine_of(llm).query("What are they?")
        list(llm.stream_complete("A colour?"))
    assert set(run_ids) == {"order-7"}
    run_ids.clear()

    async def weather(city: str) -> str:
        """The weather in a city."""
        with continuation("inside"):
            return str(await llm.acomplete(f"The weather in {city}?"))

    agent = FunctionAgent(llm=llm, tools=[weather, umbrella_price, trains])
    await agent.run(ASKED, memory=memory())
    assert run_ids[1] == "inside"
    assert run_ids[0] == run_ids[2] != run_ids[1]


class _Elsewhere(Workflow):
    """Returns its run id, and the context that a runtime passes on to another process."""

    @step
    async def only(self, ev: StartEvent) -> StopEvent:
        """Return both."""
        taken = get_dispatcher().capture_propagation_context()
        return StopEvent(result=(run_tracking.run_key(run_tracking.RUN.get(), ""), taken))


async def test_a_workflow_elsewhere() -> None:
    """A runtime that runs a workflow's rest in another process takes the run along."""
    run_tracking.watch_runs()
    run, taken = await _Elsewhere().run()

    def rest() -> str:
        get_dispatcher().restore_propagation_context(json.loads(json.dumps(taken)))
        run_tracking._span_handler.span_enter(
            "_Elsewhere.run-1", instance=_Elsewhere(), parent_id=None
        )
        return run_tracking.run_key(run_tracking.RUN.get(), "")

    assert Context().run(rest) == run


# --- what it costs -------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", OURS)
def test_runs_are_not_tracked_without_a_background_lane(cls: Any, sim: Simulator) -> None:
    """Without a background lane, LlamaIndex's spans have no handler of ours."""
    llm = make(cls, sim, context_window=2500)
    engine_of(llm).query("What are they?")
    list(llm.stream_complete("A colour?"))
    start_run_tracking(("flex", "batch", "standard"))
    assert watches() == 0


@pytest.mark.parametrize("lanes", ["auto", "background", "flex,background-8h"])
@pytest.mark.parametrize("way", ["policy", "copy", "client", "environment", "block"])
@pytest.mark.parametrize("cls", OURS)
def test_runs_are_tracked_with_a_background_lane(
    cls: Any, way: str, lanes: str, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an LLM's policy, that of a copy, of its client, of the environment, or of a block."""
    policy: Any = {"lanes": lanes}
    if way == "policy":
        make(cls, sim, policy=policy)
    elif way == "copy":
        make(cls, sim).model_copy(update={"policy": policy})
    elif way == "client":
        with FlexOpenAI(api_key=KEY, policy=policy) as client:
            cls(model="o3", api_key=KEY, openai_client=client)
    elif way == "environment":
        monkeypatch.setenv("FLEXTIER_LANES", lanes)
        cls(model="o3", api_key=KEY)
    else:
        start_run_tracking(lanes.split(","))
    assert watches() == 1
    make(cls, sim, policy=policy)
    assert watches() == 1


async def test_a_call_that_began_untracked(sim: Simulator, run_ids: list[str | None]) -> None:
    """The first call starts the tracking: it has an id of its own; the next run is tracked."""
    agent = agent_of(make(OURS[0], sim))
    await agent.run(ASKED, memory=memory())
    assert None not in run_ids
    run_ids.clear()
    await agent.run(ASKED, memory=memory())
    one_of(run_ids)


class _Stuck(Workflow):
    """Never ends by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()

    @step
    async def only(self, ev: StartEvent) -> StopEvent:
        """Say so, and wait."""
        self.begun.set()
        await asyncio.Event().wait()
        return StopEvent()


async def test_nothing_is_left_of_a_run(
    llm: Any, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is kept of a run that has ended, failed, or was cancelled."""
    named = []

    class Run(run_tracking.SpanRun):
        def __new__(cls, *args: Any) -> Any:
            named.append(one := super().__new__(cls, *args))
            return one

    monkeypatch.setattr(run_tracking, "SpanRun", Run)
    engine = engine_of(llm)
    engine.query("What are they?")
    assert run_tracking.RUN.get() is None
    sim.script(Fault.status(400))
    with pytest.raises(Exception, match="400"):
        await engine.aquery("What are they?")
    assert run_tracking.RUN.get() is None
    flow = _Stuck()
    running = flow.run()
    await flow.begun.wait()
    await running.cancel_run()
    with pytest.raises(WorkflowCancelledByUser):
        await running
    assert run_tracking.RUN.get() is None
    assert len(named) == 3
    assert not run_tracking._span_handler.open_spans
