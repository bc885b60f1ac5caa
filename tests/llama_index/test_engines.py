"""LlamaIndex's own machinery on our LLMs: indexes, engines and agents come through an outage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pydoc_data.topics import topics
from typing import Any

import pytest
from llama_index.core import Document, Settings, SummaryIndex, VectorStoreIndex
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent, ReActAgent
from llama_index.core.agent.workflow.workflow_events import ToolCallResult
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.chat_engine.types import ChatMode
from llama_index.core.evaluation import FaithfulnessEvaluator
from llama_index.core.indices.query.query_transform.base import HyDEQueryTransform
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.query_engine import (
    RetrieverQueryEngine,
    RouterQueryEngine,
    SubQuestionQueryEngine,
    TransformQueryEngine,
)
from llama_index.core.query_engine.custom import CustomQueryEngine
from llama_index.core.question_gen import LLMQuestionGenerator
from llama_index.core.response_synthesizers import ResponseMode, get_response_synthesizer
from llama_index.core.selectors import LLMSingleSelector
from llama_index.core.tools import FunctionTool, QueryEngineTool
from llama_index.embeddings.openai import OpenAIEmbedding
from pydantic import BaseModel

from flextier import CallReport, override, track
from flextier.llama_index import OpenAIFlex, OpenAIResponsesFlex
from flextier.sim import Fault, SeenRequest, Simulator, Weather
from tests.client.callers import FAST, KEY
from tests.llama_index.llms import OURS, make

# LlamaIndex's structured LLM and agents use what pydantic deprecates.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecationWarning")

NAMES = ["if", "while", "with", "lambda", "assert", "yield", "del", "global"]
QUESTION = "What does the assert statement do? Be short."
# The patience of a test's moment; after it, the standard lane.
HASTY = FAST.replace(patience=0)


class Colour(BaseModel):
    """A colour."""

    name: str
    warm: bool


@pytest.fixture(scope="module")
def built(flextier_sim_server: Simulator) -> VectorStoreIndex:
    """Python's own help texts in an index in memory, embedded by the simulator."""
    embedding = OpenAIEmbedding(api_base=flextier_sim_server.base_url, api_key=KEY)
    documents = [Document(text=topics[name], doc_id=name) for name in NAMES]
    return VectorStoreIndex.from_documents(documents, embed_model=embedding)


@pytest.fixture
async def index(built: VectorStoreIndex) -> AsyncIterator[VectorStoreIndex]:
    """The index; the embeddings' async client is of one event loop, so each test has its own."""
    yield built
    embedding: Any = built._embed_model
    if embedding._aclient is not None:
        await embedding._aclient.close()
        embedding._aclient = None


@pytest.fixture(params=OURS, ids=lambda cls: cls.__name__)
def llm(request: pytest.FixtureRequest, sim: Simulator) -> Any:
    """An LLM of each class, of a small context, so that texts are split into several calls."""
    limit = "max_tokens" if request.param is OpenAIFlex else "max_output_tokens"
    return make(request.param, sim, context_window=2500, **{limit: 400})


def model_calls(sim: Simulator) -> list[SeenRequest]:
    """The requests that were no embeddings."""
    return [request for request in sim.requests if not request.path.endswith("/embeddings")]


def outcomes(calls: list[CallReport]) -> list[str]:
    """The outcomes of all attempts of these calls."""
    return [attempt.outcome for call in calls for attempt in call.attempts]


def through_weather(sim: Simulator, ask: Callable[[], Any]) -> list[CallReport]:
    """Run ``ask`` without and with faults: the answers are equal, and every call is reported."""
    with track() as calm:
        wanted = ask()
    sim.reset()
    sim.script(Fault.refuse(), Fault.status(500), Fault.serve(), Fault.reset(), Fault.refuse())
    with track() as calls:
        answer = ask()
    assert answer == wanted
    assert answer
    assert [call.lane for call in calls] == ["flex"] * len(calm)
    assert outcomes(calls).count("served") == len(calm)
    assert len(outcomes(calls)) == len(model_calls(sim)) > len(calls)
    return calls


async def athrough_weather(sim: Simulator, ask: Callable[[], Any]) -> list[CallReport]:
    """Async counterpart of :func:`through_weather`."""
    with track() as calm:
        wanted = await ask()
    sim.reset()
    sim.script(Fault.refuse(), Fault.status(500), Fault.serve(), Fault.reset(), Fault.refuse())
    with track() as calls:
        answer = await ask()
    assert answer == wanted
    assert answer
    assert [call.lane for call in calls] == ["flex"] * len(calm)
    assert outcomes(calls).count("served") == len(calm)
    assert len(outcomes(calls)) == len(model_calls(sim)) > len(calls)
    return calls


# --- query engines --------------------------------------------------------------------------------

MODES = [
    ResponseMode.COMPACT,
    ResponseMode.REFINE,
    ResponseMode.TREE_SUMMARIZE,
    ResponseMode.SIMPLE_SUMMARIZE,
    ResponseMode.ACCUMULATE,
    ResponseMode.COMPACT_ACCUMULATE,
]


@pytest.mark.parametrize("mode", MODES)
def test_query_engines(mode: ResponseMode, llm: Any, index: VectorStoreIndex, sim: Any) -> None:
    """Each way to make one answer of several texts."""
    engine = index.as_query_engine(llm=llm, similarity_top_k=4, response_mode=mode)
    calls = through_weather(sim, lambda: str(engine.query(QUESTION)))
    if mode in (ResponseMode.REFINE, ResponseMode.ACCUMULATE):
        assert len(calls) >= 4


@pytest.mark.parametrize("mode", MODES)
async def test_query_engines_async(
    mode: ResponseMode, llm: Any, index: VectorStoreIndex, sim: Simulator
) -> None:
    """The same, async: some of the answers are requested concurrently."""
    engine = index.as_query_engine(llm=llm, similarity_top_k=4, response_mode=mode, use_async=True)

    async def ask() -> str:
        return str(await engine.aquery(QUESTION))

    await athrough_weather(sim, ask)


@pytest.mark.parametrize("mode", [ResponseMode.COMPACT, ResponseMode.TREE_SUMMARIZE])
async def test_streaming_query_engines(
    mode: ResponseMode, llm: Any, index: VectorStoreIndex, sim: Simulator
) -> None:
    """Streamed answers, sync and async, read later than they were asked for."""
    engine = index.as_query_engine(llm=llm, streaming=True, response_mode=mode)

    def ask() -> str:
        return "".join(engine.query(QUESTION).response_gen)

    async def aask() -> str:
        return "".join([text async for text in (await engine.aquery(QUESTION)).response_gen])

    through_weather(sim, ask)
    await athrough_weather(sim, aask)
    assert all(request.stream for request in model_calls(sim)[-1:])


async def test_a_retriever_query_engine(llm: Any, index: VectorStoreIndex, sim: Any) -> None:
    """Made of its parts; several questions at once."""
    engine = RetrieverQueryEngine.from_args(
        index.as_retriever(similarity_top_k=2), llm=llm, response_mode=ResponseMode.COMPACT
    )

    async def ask() -> list[str]:
        questions = [f"What does {name} do?" for name in NAMES]
        return [str(one) for one in await asyncio.gather(*map(engine.aquery, questions))]

    calls = await athrough_weather(sim, ask)
    assert len(calls) >= len(NAMES)


def test_a_response_synthesizer(llm: Any, index: VectorStoreIndex, sim: Simulator) -> None:
    """A synthesizer by itself, over nodes."""
    nodes = index.as_retriever(similarity_top_k=3).retrieve(QUESTION)
    synthesizer = get_response_synthesizer(llm=llm, response_mode=ResponseMode.REFINE)
    through_weather(sim, lambda: str(synthesizer.synthesize(QUESTION, nodes)))


def test_a_summary_index(llm: Any, sim: Simulator) -> None:
    """Every text is read, through a tree of summaries."""
    documents = [Document(text=topics[name]) for name in NAMES]
    engine = SummaryIndex.from_documents(documents).as_query_engine(
        llm=llm, response_mode=ResponseMode.TREE_SUMMARIZE
    )
    calls = through_weather(sim, lambda: str(engine.query("What are these?")))
    assert len(calls) > 2


def test_a_structured_query_engine(llm: Any, index: VectorStoreIndex, sim: Simulator) -> None:
    """An engine over `as_structured_llm` gives objects."""
    engine = index.as_query_engine(llm=llm.as_structured_llm(Colour), similarity_top_k=1)
    through_weather(sim, lambda: engine.query("A colour?").response)
    assert isinstance(engine.query("A colour?").response, Colour)


def test_an_output_class(llm: Any, index: VectorStoreIndex, sim: Simulator) -> None:
    """So does one with an output class, in several steps."""
    nodes = index.as_retriever(similarity_top_k=3).retrieve(QUESTION)
    synthesizer = get_response_synthesizer(
        llm=llm, response_mode=ResponseMode.TREE_SUMMARIZE, output_cls=Colour
    )
    sim.script(Fault.refuse())
    assert isinstance(synthesizer.synthesize(QUESTION, nodes).response, Colour)


def test_a_router(llm: Any, index: VectorStoreIndex, sim: Simulator) -> None:
    """The model chooses an engine, which asks it again."""
    engines = [
        index.as_query_engine(llm=llm, similarity_top_k=1, response_mode=ResponseMode.COMPACT),
        SummaryIndex.from_documents([Document(text="Ink is black.")]).as_query_engine(llm=llm),
    ]
    router = RouterQueryEngine.from_defaults(
        [
            QueryEngineTool.from_defaults(engine, name=name, description=name)
            for engine, name in zip(engines, ("python", "ink"), strict=True)
        ],
        llm=llm,
        selector=LLMSingleSelector.from_defaults(llm=llm),
    )
    choice = Fault.serve(text='[{"choice": 2, "reason": "It is about ink."}]')
    sim.script(Fault.refuse(), choice, Fault.reset())
    with track() as calls:
        answer = router.query("What colour has ink?")
    assert answer.source_nodes[0].node.get_content() == "Ink is black."
    assert outcomes(calls) == ["capacity", "served", "transient", "served"]


def test_transformed_queries(llm: Any, index: VectorStoreIndex, sim: Simulator) -> None:
    """A query that the model rewrites first."""
    engine = TransformQueryEngine(
        index.as_query_engine(llm=llm, similarity_top_k=1), HyDEQueryTransform(llm=llm)
    )
    assert len(through_weather(sim, lambda: str(engine.query(QUESTION)))) >= 2


# --- chat engines ---------------------------------------------------------------------------------

CHATS = [ChatMode.CONTEXT, ChatMode.CONDENSE_QUESTION, ChatMode.CONDENSE_PLUS_CONTEXT]


def memory(history: list[ChatMessage] | None = None) -> ChatMemoryBuffer:
    """A memory without a database, which no test would close."""
    return ChatMemoryBuffer.from_defaults(chat_history=history, token_limit=4000)


def _chat_engine(index: VectorStoreIndex, llm: Any, mode: ChatMode) -> Any:
    """An engine with a history of its own."""
    history = [
        ChatMessage(role=MessageRole.USER, content="Hi."),
        ChatMessage(role=MessageRole.ASSISTANT, content="Hello."),
    ]
    return index.as_chat_engine(llm=llm, chat_mode=mode, memory=memory(history), similarity_top_k=1)


@pytest.mark.parametrize("mode", CHATS)
async def test_chat_engines(mode: ChatMode, llm: Any, index: VectorStoreIndex, sim: Any) -> None:
    """A conversation of two turns, sync and async."""

    def ask() -> list[str]:
        engine = _chat_engine(index, llm, mode)
        return [str(engine.chat(QUESTION)), str(engine.chat("And the del statement?"))]

    async def aask() -> list[str]:
        engine = _chat_engine(index, llm, mode)
        return [str(await engine.achat(QUESTION)), str(await engine.achat("And del?"))]

    calls = through_weather(sim, ask)
    assert len(calls) >= 2
    await athrough_weather(sim, aask)


@pytest.mark.parametrize("mode", CHATS)
async def test_streaming_chat_engines(
    mode: ChatMode, llm: Any, index: VectorStoreIndex, sim: Simulator
) -> None:
    """Streamed turns, which LlamaIndex reads in a thread or task of its own."""

    async def ask() -> str:
        answer = await _chat_engine(index, llm, mode).astream_chat(QUESTION)
        return "".join([text async for text in answer.async_response_gen()])

    await athrough_weather(sim, ask)
    with track() as calls:
        streamed = _chat_engine(index, llm, mode).stream_chat(QUESTION)
        assert "".join(streamed.response_gen)
    assert [call.lane for call in calls] == ["flex"] * len(calls)
    assert calls


# --- agents ---------------------------------------------------------------------------------------


def weather(city: str) -> str:
    """The weather in a city."""
    return f"14 degrees and drizzle in {city}."


def umbrella_price(city: str) -> str:
    """What an umbrella costs in a city."""
    return f"12 euros in {city}."


def ask_both(*_: Any) -> str:
    """A question that names both tools."""
    return "Use weather and umbrella_price for 'Bergen' and 'Oslo'."


async def _tools_and_text(running: Any) -> tuple[list[tuple[str, str]], str]:
    """What an agent's tools said, and what it said in the end."""
    said = [
        (event.tool_name, str(event.tool_output))
        async for event in running.stream_events()
        if isinstance(event, ToolCallResult)
    ]
    return sorted(said), str(await running)


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_function_agent(streaming: bool, llm: Any, sim: Simulator) -> None:
    """Two tools called, their answers read; every step routed on its own, and seen by `track`."""

    async def ask() -> Any:
        agent = FunctionAgent(llm=llm, tools=[weather, umbrella_price], streaming=streaming)
        return await _tools_and_text(agent.run(ask_both(), memory=memory()))

    calls = await athrough_weather(sim, ask)
    tools, text = await ask()
    assert [name for name, _ in tools] == ["umbrella_price", "weather"]
    assert "The tool answered" in text
    assert len(calls) == 2


@pytest.mark.parametrize("streaming", [False, True])
async def test_an_agent_workflow(streaming: bool, llm: Any, sim: Simulator) -> None:
    """One agent hands over to another; the calls of both are seen."""

    def agents() -> AgentWorkflow:
        first = FunctionAgent(
            name="first",
            description="Hands over.",
            llm=llm,
            tools=[],
            can_handoff_to=["second"],
            streaming=streaming,
        )
        second = FunctionAgent(
            name="second",
            description="Knows the weather.",
            llm=llm,
            tools=[weather],
            can_handoff_to=[],
            streaming=streaming,
        )
        return AgentWorkflow(agents=[first, second], root_agent="first")

    async def ask() -> Any:
        return await _tools_and_text(
            agents().run("handoff to 'second' for 'the weather'.", memory=memory())
        )

    calls = await athrough_weather(sim, ask)
    tools, _ = await ask()
    assert [name for name, _ in tools][:1] == ["handoff"]
    assert len(calls) >= 2


@pytest.mark.filterwarnings("ignore:is_running called from within a step")  # LlamaIndex itself
async def test_a_react_agent(llm: Any, sim: Simulator) -> None:
    """An agent that reads its steps out of plain text."""
    steps = [
        'Thought: I need a tool.\nAction: weather\nAction Input: {"city": "Bergen"}',
        "Thought: I can answer.\nAnswer: It drizzles.",
    ]

    async def ask(*faults: Fault) -> Any:
        said = [Fault.serve(text=step) for step in steps]
        sim.script(*faults, said[0], *faults, said[1])
        agent = ReActAgent(llm=llm, tools=[weather], streaming=False)
        return await _tools_and_text(agent.run("The weather in Bergen?", memory=memory()))

    wanted = ([("weather", "14 degrees and drizzle in Bergen.")], "It drizzles.")
    assert await ask() == wanted
    with track() as calls:
        assert await ask(Fault.refuse(), Fault.status(500)) == wanted
    assert outcomes(calls) == ["capacity", "transient", "served"] * 2


async def test_agents_at_once(llm: Any, sim: Simulator) -> None:
    """Agents that run at once, each in tasks of its own, are kept apart by `track`."""

    async def run(number: int) -> tuple[str, int]:
        with track() as calls:
            agent = FunctionAgent(llm=llm, tools=[weather])
            answer = str(await agent.run(f"Use weather for 'Town {number}'.", memory=memory()))
        return answer, len(calls)

    sim.script(*[Fault.refuse()] * 4)
    with track() as everything:
        answers = await asyncio.gather(*map(run, range(6)))
    assert [count for _, count in answers] == [2] * 6
    assert all(f"Town {number}." in answer for number, (answer, _) in enumerate(answers))
    assert len(everything) == 12
    assert outcomes(everything).count("capacity") == 4


async def test_an_agents_memory(llm: Any, sim: Simulator) -> None:
    """A memory carries the messages, reports and all, into the next run."""
    kept = memory()
    agent = FunctionAgent(llm=llm, tools=[weather])
    for _ in range(2):
        sim.script(Fault.refuse())
        assert "Bergen" in str(await agent.run("Use weather for 'Bergen'.", memory=kept))
    assert len(await kept.aget_all()) == 8


async def test_predict_and_call(llm: Any, sim: Simulator) -> None:
    """The model's choice of a tool is made at once, sync and async."""
    tools = [FunctionTool.from_defaults(weather), FunctionTool.from_defaults(umbrella_price)]
    sim.script(Fault.refuse())
    with track() as calls:
        one = llm.predict_and_call(tools, "Use weather for 'Bergen'.")
        two = await llm.apredict_and_call(tools, "Use weather for 'Bergen'.")
    assert str(one) == str(two) == "14 degrees and drizzle in Bergen."
    assert outcomes(calls) == ["capacity", "served", "served"]


# --- more weather, and what is around -------------------------------------------------------------


@pytest.mark.parametrize("cls", OURS)
async def test_an_outage(cls: Any, index: VectorStoreIndex, sim: Simulator) -> None:
    """While the lane is shut, engines and agents answer from the standard lane: nothing is lost."""
    llm = make(cls, sim, policy=HASTY)
    sim.weather = Weather(slots=0)
    engine = index.as_query_engine(llm=llm, response_mode=ResponseMode.TREE_SUMMARIZE)
    with track() as calls:
        assert "[simulated]" in str(engine.query(QUESTION))
        assert "[simulated]" in str(await engine.aquery(QUESTION))
        assert "drizzle" in str(
            await FunctionAgent(llm=llm, tools=[weather]).run(
                "Use weather for 'Bergen'.", memory=memory()
            )
        )
    assert {call.lane for call in calls} == {"standard"}
    assert {call.fallback for call in calls} == {"capacity"}


@pytest.mark.parametrize("cls", OURS)
async def test_random_refusals(cls: Any, index: VectorStoreIndex, sim: Simulator) -> None:
    """A lane that refuses two calls in five all day serves everybody all the same."""
    llm = make(cls, sim, context_window=2500)
    sim.weather = Weather(refuse=0.4)
    engine = index.as_query_engine(
        llm=llm, similarity_top_k=6, response_mode=ResponseMode.ACCUMULATE, use_async=True
    )
    with track() as calls:
        assert "[simulated]" in str(await engine.aquery(QUESTION))
    assert {call.lane for call in calls} == {"flex"}
    assert len(calls) >= 6


@pytest.mark.parametrize("cls", OURS)
async def test_override_reaches_engines_and_agents(
    cls: Any, index: VectorStoreIndex, sim: Simulator
) -> None:
    """Other lanes for a block hold in the tasks and threads that LlamaIndex starts inside."""
    llm = make(cls, sim)
    engine = index.as_query_engine(llm=llm, streaming=True)
    agent = FunctionAgent(llm=llm, tools=[weather])
    with override(lanes=("standard",)), track() as calls:
        "".join(engine.query(QUESTION).response_gen)
        await agent.run("Use weather for 'Bergen'.", memory=memory())
        streamed = _chat_engine(index, llm, ChatMode.CONTEXT).stream_chat(QUESTION)
        "".join(streamed.response_gen)
    assert {call.lane for call in calls} == {"standard"}
    assert {request.tier for request in model_calls(sim)} == {"default"}
    sim.reset()
    await agent.run("Use weather for 'Bergen'.", memory=memory())
    assert {request.tier for request in model_calls(sim)} == {"flex"}


def test_embeddings_have_no_lanes(index: VectorStoreIndex, sim: Simulator) -> None:
    """They are LlamaIndex's own: no tier is asked for, no report made."""
    with track() as calls:
        index.as_retriever().retrieve(QUESTION)
    assert [request.tier for request in sim.requests] == [None]
    assert calls == []


def test_an_evaluator(llm: Any, index: VectorStoreIndex, sim: Simulator) -> None:
    """An evaluator asks by our LLM, too."""
    response = index.as_query_engine(llm=llm, similarity_top_k=1).query(QUESTION)
    sim.script(Fault.refuse(), Fault.serve(text="YES"))
    with track() as calls:
        result = FaithfulnessEvaluator(llm=llm).evaluate_response(response=response)
    assert result.passing is True
    assert outcomes(calls)[:2] == ["capacity", "served"]


def test_an_engine_of_the_users(llm: Any, sim: Simulator) -> None:
    """An engine of one's own holds the LLM in a field."""

    class Engine(CustomQueryEngine):
        """Asks without any text."""

        llm: OpenAIFlex | OpenAIResponsesFlex

        def custom_query(self, query_str: str) -> str:
            """The model's own answer."""
            return str(self.llm.complete(query_str))

    engine = Engine(llm=llm)
    assert engine.llm is llm
    through_weather(sim, lambda: str(engine.query(QUESTION)))


def test_sub_questions(llm: Any, index: VectorStoreIndex, sim: Simulator) -> None:
    """Questions that the model makes, answered at once, and one answer made of them."""
    tool = QueryEngineTool.from_defaults(
        index.as_query_engine(llm=llm, similarity_top_k=1, response_mode=ResponseMode.COMPACT),
        name="python",
        description="Python's statements",
    )
    engine = SubQuestionQueryEngine.from_defaults(
        [tool],
        llm=llm,
        question_gen=LLMQuestionGenerator.from_defaults(llm=llm),
        response_synthesizer=get_response_synthesizer(llm=llm),
        verbose=False,
    )
    made = """```json
    {"items": [{"sub_question": "What is del?", "tool_name": "python"},
               {"sub_question": "What is if?", "tool_name": "python"}]}
    ```"""
    sim.script(Fault.refuse(), Fault.serve(text=made), Fault.refuse())
    with track() as calls:
        assert "[simulated]" in str(engine.query(QUESTION))
    assert len(calls) >= 4
    assert {call.lane for call in calls} == {"flex"}


def test_settings_reach_engines(llm: Any, index: VectorStoreIndex, sim: Simulator) -> None:
    """Engines use the LLM of `Settings.llm`."""
    before = Settings._llm
    Settings.llm = llm
    try:
        calls = through_weather(sim, lambda: str(index.as_query_engine().query(QUESTION)))
    finally:
        Settings._llm = before
    assert {call.model for call in calls} == {"o3"}
