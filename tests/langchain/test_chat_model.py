"""ChatOpenAIFlex: LangChain code works unchanged, and each answer carries its call report."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ToolStrategy
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.exceptions import LangChainException
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr

from flextier import FlexDeadlineExceeded, override, track
from flextier.langchain import ChatOpenAIFlex, ModelDeadlineExceeded
from flextier.sim import Fault, Simulator
from tests.langchain.conftest import FAST, KEY
from tests.langchain.helpers import Listener, Make, merged, outcomes, report_of

pytestmark = [
    pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings"),  # the parent's, see above
]
PROMPT = ChatPromptTemplate.from_template("Write about {topic}. Be short.")


class Colour(BaseModel):
    """A colour."""

    name: str
    warm: bool


@tool
def lookup(word: str) -> str:
    """Look a word up."""
    return f"{word}: a word"


# --- the report ---------------------------------------------------------------------------------


def test_invoke_carries_the_report(llm: ChatOpenAIFlex, sim: Simulator) -> None:
    """Lane, attempts with outcome and seconds, waited and fallback reason, as plain JSON."""
    sim.script(Fault.refuse(), Fault.status(500))

    message = llm.invoke("Hi.")

    report = report_of(message)
    assert report["lane"] == "flex"
    assert [(a["lane"], a["outcome"]) for a in report["attempts"]] == [
        ("flex", "capacity"),
        ("flex", "transient"),
        ("flex", "served"),
    ]
    assert all(a["seconds"] > 0 for a in report["attempts"])
    assert report["waited"] > 0
    assert report["fallback"] is None
    json.dumps(report)


async def test_ainvoke_carries_the_report(llm: ChatOpenAIFlex, sim: Simulator) -> None:
    """The same, async."""
    sim.script(Fault.unsupported())

    message = await llm.ainvoke("Hi.")

    assert report_of(message)["lane"] == "standard"
    assert report_of(message)["fallback"] == "lane_unsupported"


def test_stream_carries_the_report_once(llm: ChatOpenAIFlex, sim: Simulator) -> None:
    """The last chunk carries it, so that the merged message does; text and usage are whole."""
    plain = llm.invoke("Name a colour.")
    sim.script(Fault.refuse())

    chunks = list(llm.stream("Name a colour."))

    assert ["flextier" in chunk.response_metadata for chunk in chunks][-1] is True
    assert sum("flextier" in chunk.response_metadata for chunk in chunks) == 1
    whole = merged(chunks)
    assert outcomes(whole) == ["capacity", "served"]
    assert whole.text == plain.text
    assert whole.usage_metadata is not None
    assert whole.chunk_position == "last"


async def test_astream_carries_the_report_once(llm: ChatOpenAIFlex, sim: Simulator) -> None:
    """The same, async."""
    sim.script(Fault.stream_error())

    chunks = [chunk async for chunk in llm.astream("Name a colour.")]

    assert sum("flextier" in chunk.response_metadata for chunk in chunks) == 1
    assert outcomes(merged(chunks)) == ["capacity", "served"]


def test_as_many_chunks_as_the_parents(llm: ChatOpenAIFlex, sim: Simulator) -> None:
    """The report costs no extra chunk."""
    parent = ChatOpenAI(
        model="o3",
        base_url=sim.base_url,
        api_key=SecretStr(KEY),
        use_responses_api=llm.use_responses_api,
        stream_usage=True,
    )
    ours = [chunk.content for chunk in llm.stream("Name a colour.")]
    theirs = [chunk.content for chunk in parent.stream("Name a colour.")]
    assert len(ours) == len(theirs)


def test_streaming_true_carries_the_report(make: Make, sim: Simulator) -> None:
    """`streaming=True` turns invoke into a stream under the hood; the report comes through."""
    sim.script(Fault.refuse())
    assert outcomes(make(streaming=True).invoke("Hi.")) == ["capacity", "served"]


async def test_astream_events(llm: ChatOpenAIFlex, sim: Simulator) -> None:
    """The end events of a chain carry the message with its report."""
    sim.script(Fault.refuse())

    events = [e async for e in (PROMPT | llm).astream_events({"topic": "ink"}, version="v2")]

    ends = [e for e in events if e["event"] == "on_chat_model_end"]
    assert outcomes(ends[0]["data"]["output"]) == ["capacity", "served"]
    assert any(e["event"] == "on_chat_model_stream" for e in events)


# --- retries reach callbacks --------------------------------------------------------------------


def test_retries_reach_the_callbacks(llm: ChatOpenAIFlex, sim: Simulator) -> None:
    """`on_retry` comes with tenacity's state and the run's own id: invoke and stream."""
    for call in (
        lambda listener: llm.invoke("Hi.", {"callbacks": [listener]}),
        lambda listener: list(llm.stream("Hi.", {"callbacks": [listener]})),
        lambda listener: (PROMPT | llm).invoke({"topic": "ink"}, {"callbacks": [listener]}),
        lambda listener: list((PROMPT | llm).stream({"topic": "ink"}, {"callbacks": [listener]})),
    ):
        listener = Listener()
        sim.script(Fault.refuse(), Fault.status(500), Fault.serve())
        call(listener)
        assert listener.retries == listener.started * 2
        assert [type(e) for e in listener.errors] == [
            openai.RateLimitError,
            openai.InternalServerError,
        ]


def test_a_retrys_state_has_the_wait_the_lane_and_the_cause(
    llm: ChatOpenAIFlex, sim: Simulator
) -> None:
    """Also where the wait is for capacity: the server's Retry-After, for which the call queues."""
    listener = Listener()
    sim.script(Fault.refuse(retry_after=0.2), Fault.status(500), Fault.serve())
    llm.invoke("Hi.", {"callbacks": [listener]})
    refused, failed = listener.states
    assert refused.next_action.sleep == refused.upcoming_sleep == pytest.approx(0.2, abs=0.1)
    assert (refused.lane, refused.cause, refused.attempt_number) == ("flex", "capacity", 1)
    assert (failed.lane, failed.cause, failed.attempt_number) == ("flex", "transient", 2)
    assert failed.idle_for == pytest.approx(0.2, abs=0.1)


async def test_retries_reach_async_callbacks(llm: ChatOpenAIFlex, sim: Simulator) -> None:
    """Async handlers and the model's own handlers are notified of retries of async calls."""

    class AsyncListener(AsyncCallbackHandler):
        retries = 0

        async def on_retry(self, *_: Any, **__: Any) -> None:
            self.retries += 1

    listener, own = AsyncListener(), Listener()
    observed = llm.model_copy(update={"callbacks": [own]})
    sim.script(Fault.refuse(), Fault.serve())
    await observed.ainvoke("Hi.", {"callbacks": [listener]})
    sim.script(Fault.refuse(), Fault.serve())
    async for _ in observed.astream("Hi.", {"callbacks": [listener]}):
        pass
    assert listener.retries == 2
    assert len(own.retries) == 2


# --- LangChain's ways to use a model ------------------------------------------------------------


def test_a_chain(llm: ChatOpenAIFlex, sim: Simulator) -> None:
    """`prompt | model | parser` through a refusal."""
    sim.script(Fault.refuse())
    assert (PROMPT | llm | StrOutputParser()).invoke({"topic": "ink"})
    assert len(sim.requests) == 2


def test_batch(llm: ChatOpenAIFlex, sim: Simulator) -> None:
    """`batch` gives every message its own report, in order."""
    sim.script(*[Fault.refuse()] * 3)
    with track() as calls:
        messages = llm.batch([f"Number {n}." for n in range(12)])
    assert ["Number" in m.text for m in messages] == [True] * 12
    assert sum(len(outcomes(m)) for m in messages) == 15
    assert len(calls) == 12


async def test_abatch(llm: ChatOpenAIFlex, sim: Simulator) -> None:
    """The same, async."""
    sim.script(*[Fault.refuse()] * 3)
    messages = await llm.abatch([f"Number {n}." for n in range(12)])
    assert sum(len(outcomes(m)) for m in messages) == 15


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
@pytest.mark.parametrize("include_raw", [False, True])
def test_structured_output(
    method: Any, include_raw: bool, llm: ChatOpenAIFlex, sim: Simulator
) -> None:
    """All three methods give the object, after a refusal too."""
    structured = llm.with_structured_output(Colour, method=method, include_raw=include_raw)
    sim.script(Fault.refuse(), Fault.serve(text='{"name": "red", "warm": true}'))
    if method == "function_calling":
        sim.reset()
        sim.script(Fault.refuse())
    answer: Any = structured.invoke("A colour, as JSON.")
    if include_raw:
        assert outcomes(answer["raw"]) == ["capacity", "served"]
        answer = answer["parsed"]
    assert isinstance(answer, Colour)


def test_bind_tools(llm: ChatOpenAIFlex, sim: Simulator) -> None:
    """Tool calls come back whole, streamed ones too."""
    bound = llm.bind_tools([lookup])
    sim.script(Fault.refuse())
    assert bound.invoke("Look up 'ink'.").tool_calls[0]["name"] == "lookup"
    sim.script(Fault.refuse())
    assert merged(list(bound.stream("Look up 'ink'."))).tool_calls[0]["name"] == "lookup"


def test_an_agent(llm: ChatOpenAIFlex, sim: Simulator) -> None:
    """A tool loop of langchain's agent ends, each step routed on its own."""
    sim.script(Fault.refuse(), Fault.serve(), Fault.status(503), Fault.serve())
    agent = create_agent(llm, [lookup])

    state = agent.invoke({"messages": [{"role": "user", "content": "Look up 'ink'."}]})

    answers = [m for m in state["messages"] if m.type == "ai"]
    assert [outcomes(m) for m in answers] == [["capacity", "served"], ["transient", "served"]]
    assert any(isinstance(m, ToolMessage) for m in state["messages"])


def test_an_agent_with_a_tool_strategy(llm: ChatOpenAIFlex, sim: Simulator) -> None:
    """An agent that must call a tool at every step ends with the one that is its answer."""
    agent = create_agent(llm, [lookup], response_format=ToolStrategy(Colour))

    state = agent.invoke({"messages": [{"role": "user", "content": "Look up the word 'ink'."}]})

    tools = [m.name for m in state["messages"] if isinstance(m, ToolMessage)]
    assert tools == ["lookup", "Colour"]
    assert state["structured_response"] == Colour(name="ink", warm=True)


def test_with_fallbacks(make: Make, sim: Simulator) -> None:
    """A model's own fallbacks take over what the ladder gave up."""
    sim.script(Fault.quota())
    chain = make().with_fallbacks([make(model="o4-mini")])
    assert chain.invoke("Hi.").text
    assert [request.model for request in sim.requests] == ["o3", "o4-mini"]


def test_configurable_fields(make: Make, sim: Simulator) -> None:
    """The policy can be a configurable field."""
    model = make().configurable_fields(policy=ConfigurableField(id="policy"))
    standard = {"configurable": {"policy": {**FAST, "lanes": ["standard"]}}}
    assert report_of(model.invoke("Hi."))["lane"] == "flex"
    assert report_of(model.invoke("Hi.", standard))["lane"] == "standard"


def test_model_copy(llm: ChatOpenAIFlex) -> None:
    """A copy with another policy follows it, and leaves the original alone."""
    copy = llm.model_copy(update={"policy": {**FAST, "lanes": ["standard"]}})
    assert report_of(copy.invoke("Hi."))["lane"] == "standard"
    assert report_of(llm.invoke("Hi."))["lane"] == "flex"
    assert llm.model_copy().root_client is llm.root_client


def test_a_tier_per_call_and_per_model(make: Make, sim: Simulator) -> None:
    """`service_tier` means what it means for ChatOpenAI: the caller's choice."""
    assert report_of(make(service_tier="default").invoke("Hi."))["lane"] == "standard"
    assert report_of(make().invoke("Hi.", service_tier="priority"))["lane"] == "priority"
    assert report_of(make(service_tier="flex").invoke("Hi."))["lane"] == "flex"
    assert [request.tier for request in sim.requests] == ["default", "priority", "flex"]


def test_usage_metadata_is_the_parents(llm: ChatOpenAIFlex, sim: Simulator) -> None:
    """Token counts are as ChatOpenAI reports them for flex."""
    usage = llm.invoke("Hi.").usage_metadata
    assert usage is not None
    assert usage["output_token_details"]["flex_reasoning"] > 0  # type: ignore[typeddict-item]


def test_one_model_under_two_event_loops(llm: ChatOpenAIFlex) -> None:
    """`asyncio.run` twice with one model."""
    assert [asyncio.run(llm.ainvoke("Hi.")).text for _ in range(2)]


def test_override_reaches_a_chain(llm: ChatOpenAIFlex, sim: Simulator) -> None:
    """`override` around a chain holds for the calls inside."""
    with override(lanes=("standard",)):
        assert report_of((PROMPT | llm).invoke({"topic": "ink"}))["lane"] == "standard"


# --- errors -------------------------------------------------------------------------------------


def test_errors_are_langchains_with_the_report(llm: ChatOpenAIFlex, sim: Simulator) -> None:
    """What ChatOpenAI raises is raised, and carries the report."""
    sim.script(Fault.quota())
    with pytest.raises(openai.RateLimitError) as caught:
        llm.invoke("Hi.")
    assert isinstance(caught.value, LangChainException)
    assert caught.value.report.attempts[0].outcome == "quota"  # type: ignore[attr-defined]


def test_a_deadline_is_both(llm: ChatOpenAIFlex, sim: Simulator) -> None:
    """A missed deadline is ours, the SDK's timeout, and LangChain's: plain and streamed."""
    for call in (llm.invoke, lambda text: list(llm.stream(text))):
        sim.script(Fault.stall())
        with (
            override(deadline=0.2, lanes=("flex",)),
            pytest.raises(ModelDeadlineExceeded, match="FLEXTIER_DEADLINE") as caught,
        ):
            call("Hi.")
        assert isinstance(caught.value, FlexDeadlineExceeded)
        assert isinstance(caught.value, openai.APITimeoutError)
        assert isinstance(caught.value, LangChainException)
        assert caught.value.report.lane == "flex"  # type: ignore[attr-defined]


async def test_the_watchdog_does_not_kill_a_queued_stream(make: Make, sim: Simulator) -> None:
    """Silence before the first event, and between events, is bounded by the policy alone."""
    assert make().stream_chunk_timeout is None
    watched = make(stream_chunk_timeout=0.3)
    sim.script(Fault.serve(delay=0.9))
    assert merged([c async for c in watched.astream("Hi.")]).text


def test_the_watchdogs_variable_still_counts(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sets LangChain's variable has chosen."""
    monkeypatch.setenv("LANGCHAIN_OPENAI_STREAM_CHUNK_TIMEOUT_S", "33")
    assert make().stream_chunk_timeout == 33


def test_a_cut_stream_raises(llm: ChatOpenAIFlex, sim: Simulator) -> None:
    """Half an answer is never passed off as a whole one."""
    sim.script(Fault.stream_end(after=4))
    with pytest.raises(openai.APIConnectionError):
        list(llm.stream("Name a colour."))


def test_a_closed_client(make: Make) -> None:
    """A model whose client was closed says so; a new model is not affected."""
    model = make()
    model.root_client.close()
    with pytest.raises(RuntimeError, match="has been closed"):
        model.invoke("Hi.")
    assert make().invoke("Hi.").text


def test_a_cached_answer_has_no_report(make: Make, sim: Simulator) -> None:
    """LangChain's cache answers without a call: there is nothing to report, or to count twice."""
    model = make(cache=InMemoryCache())
    first, second = model.invoke("Hi."), model.invoke("Hi.")
    assert report_of(first)["lane"] == "flex"
    assert "flextier" not in second.response_metadata
    assert len(sim.requests) == 1
    assert report_of(first)["lane"] == "flex"


def test_an_answer_keeps_its_report_when_the_cache_repeats_it(make: Make, sim: Simulator) -> None:
    """The same question twice in one batch: the first has been answered, the second was cached."""
    model = make(cache=InMemoryCache())
    question = [HumanMessage("Hi.")]
    answers = model.generate([question, question]).generations
    first, second = (one.message for (one,) in answers if isinstance(one, ChatGeneration))
    assert report_of(first)["lane"] == "flex"
    assert "flextier" not in second.response_metadata
    assert first.text == second.text
    assert len(sim.requests) == 1


def test_retries_are_reported_once_without_streaming(make: Make, sim: Simulator) -> None:
    """Without streaming, `stream` falls back to `invoke` and reports each retry once."""
    listener = Listener()
    sim.script(Fault.refuse())
    list(make(disable_streaming=True).stream("Hi.", {"callbacks": [listener]}))
    assert len(listener.retries) == 1


def test_a_lane_that_refuses_to_the_end_names_the_knob(make: Make, sim: Simulator) -> None:
    """LangChain's error, too, says what was tried, and what to turn."""
    sim.script(Fault.refuse())
    with pytest.raises(openai.RateLimitError, match="FLEXTIER_PATIENCE"):
        make(policy={"lanes": ["flex"], "patience": 0}).invoke("Hi.")
