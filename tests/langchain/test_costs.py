"""The cost handler: every model call of a run once, at what was billed, however it was made."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from decimal import Decimal
from typing import Any
from uuid import uuid4

import openai
import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRetryMiddleware
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatResult, LLMResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableParallel
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr

from flextier import BudgetExceeded, budget
from flextier.costs import CallRecord, CostTotals
from flextier.langchain import FlexCostCallbackHandler, callbacks, get_flex_cost_callback
from flextier.sim import Fault, Simulator
from tests.langchain.bills import assert_adds_up
from tests.langchain.conftest import KEY
from tests.langchain.helpers import Make

pytestmark = [
    pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings"),  # ChatOpenAI's own
]
PROMPT = ChatPromptTemplate.from_template("Write about {topic}. Be short.")
INK = {"topic": "ink"}


class Colour(BaseModel):
    """A colour."""

    name: str
    warm: bool


@tool
def lookup(word: str) -> str:
    """Look a word up."""
    return f"{word}: a word"


@pytest.fixture
async def plain(request: pytest.FixtureRequest, sim: Simulator) -> AsyncIterator[ChatOpenAI]:
    """LangChain's own model."""
    async with openai.DefaultAsyncHttpxClient() as http:  # its own breaks under a second loop
        yield ChatOpenAI(
            model="o3",
            base_url=sim.base_url,
            api_key=SecretStr(KEY),
            stream_usage=True,
            max_retries=0,
            use_responses_api=request.node.callspec.params["api"] == "responses",
            http_async_client=http,
        )


@pytest.fixture(params=["flex", "plain", "plain on flex"])
def model(request: pytest.FixtureRequest, make: Make, plain: ChatOpenAI) -> ChatOpenAI:
    """Our model, LangChain's on the standard tier, LangChain's on the flex tier."""
    if request.param == "flex":
        return make(use_responses_api=plain.use_responses_api, stream_usage=True)
    tier = "flex" if request.param == "plain on flex" else None
    return plain.model_copy(update={"service_tier": tier})


both_apis = pytest.mark.parametrize("api", ["chat", "responses"])


def costs_of(run: Callable[[Any], object]) -> FlexCostCallbackHandler:
    """Return a cost handler that was passed to ``run`` in its config."""
    costs = FlexCostCallbackHandler(keep_records=None)
    run({"callbacks": [costs]})
    return costs


# --- every way to make a call ---------------------------------------------------------------------


@both_apis
async def test_every_way_to_call_counts_once(api: str, model: ChatOpenAI, sim: Simulator) -> None:
    """invoke, stream, batch, chains, events, sync and async: the totals equal the bill exactly."""
    costs = FlexCostCallbackHandler()
    config: Any = {"callbacks": [costs]}
    chain = PROMPT | model | StrOutputParser()
    model.invoke("Hi.", config)
    list(model.stream("Hi.", config))
    list(model.stream_events("Hi.", config, version="v3"))
    model.batch(["Hi.", "Ho."], config)
    chain.invoke(INK, config)
    list(chain.stream(INK, config))

    await model.ainvoke("Hi.", config)
    async for _ in model.astream("Hi.", config):
        pass
    await model.abatch(["Hi.", "Ho."], config)
    await chain.ainvoke(INK, config)
    async for _ in chain.astream_events(INK, config, version="v2"):
        pass

    assert costs.totals.calls == 13
    assert costs.totals.failed_calls == 0
    assert_adds_up(costs.totals, sim)


@both_apis
def test_cached_written_and_reasoning_tokens_are_parts(
    api: str, model: ChatOpenAI, sim: Simulator
) -> None:
    """LangChain's parts of the tokens overlap; the totals count, and each part once."""
    usage = {
        "input_tokens": 1000,
        "cached_input_tokens": 600,
        "cache_write_tokens": 300,
        "output_tokens": 500,
        "reasoning_tokens": 400,
    }
    sim.script(*[Fault.serve(usage=usage)] * 2)

    costs = costs_of(lambda config: (model.invoke("Hi.", config), list(model.stream("", config))))

    for record in costs.records:
        assert record.usage is not None
        assert record.usage.to_dict() == usage
    assert_adds_up(costs.totals, sim)


@both_apis
def test_the_tier_that_served_is_billed(api: str, model: ChatOpenAI, sim: Simulator) -> None:
    """Not the one that was asked for."""
    sim.script(*[Fault.serve(tier=tier) for tier in ("default", "flex", "priority")])

    costs = costs_of(lambda config: [model.invoke("Hi.", config) for _ in range(3)])

    assert [record.lane for record in costs.records] == ["standard", "flex", "priority"]
    assert_adds_up(costs.totals, sim)


@both_apis
@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(api: str, method: Any, model: ChatOpenAI, sim: Simulator) -> None:
    """One call, also with the raw message beside the object."""
    structured = model.with_structured_output(Colour, method=method, include_raw=True)
    costs = costs_of(lambda config: structured.invoke("A colour.", config))
    assert costs.totals.calls == 1
    assert_adds_up(costs.totals, sim)


@both_apis
def test_an_answer_that_breaks_its_schema_is_billed(
    api: str, model: ChatOpenAI, sim: Simulator
) -> None:
    """The run fails, the tokens cost: the record has both."""
    sim.script(Fault.serve(text='{"name": "re'))
    structured = model.with_structured_output(Colour, method="json_schema")

    def run(config: Any) -> None:
        with pytest.raises(ValueError, match="Invalid JSON"):
            structured.invoke("A colour.", config)

    costs = costs_of(run)
    (record,) = costs.records
    assert record.answered
    assert record.error == "ValidationError"
    assert_adds_up(costs.totals, sim)


@both_apis
def test_an_agent(api: str, model: ChatOpenAI, sim: Simulator) -> None:
    """Each step of a tool loop is a call; the records hang on the agent's runs."""
    agent = create_agent(model, [lookup])
    ask: Any = {"messages": [{"role": "user", "content": "Look up 'ink'."}]}
    costs = costs_of(lambda config: agent.invoke(ask, config | {"tags": ["agent"]}))
    assert costs.totals.calls == costs.totals.by_tag["agent"].calls == 2
    assert len({record.parent_run_id for record in costs.records}) == 2
    assert_adds_up(costs.totals, sim)


@both_apis
def test_fallbacks_of_langchain(api: str, model: ChatOpenAI, make: Make, sim: Simulator) -> None:
    """The model that failed and the one that took over are two calls; one of them is billed."""
    sim.script(Fault.status(400))
    chain = PROMPT | model.with_fallbacks([make(model="o4-mini")])
    costs = costs_of(lambda config: chain.invoke(INK, config))
    assert (costs.totals.calls, costs.totals.failed_calls) == (1, 1)
    assert costs.totals.by_model["o3"].failed_calls == 1
    assert_adds_up(costs.totals, sim)


@both_apis
def test_attached_at_two_levels(api: str, model: ChatOpenAI, sim: Simulator) -> None:
    """On the model, in the config of the chain, and in a block: still once."""
    with get_flex_cost_callback() as costs:
        observed = model.model_copy(update={"callbacks": [costs]})
        parallel = RunnableParallel(one=PROMPT | observed, two=PROMPT | observed)
        parallel.invoke(INK, {"callbacks": [costs]})
        list(observed.stream("Hi.", {"callbacks": [costs]}))
    assert costs.totals.calls == 3
    assert_adds_up(costs.totals, sim)


@both_apis
def test_threads_share_a_handler(api: str, model: ChatOpenAI, sim: Simulator) -> None:
    """Many threads, one handler: nothing is lost, nothing is counted twice."""
    costs = FlexCostCallbackHandler()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: model.invoke(f"{n}", {"callbacks": [costs]}), range(40)))
    assert costs.totals.calls == 40
    assert_adds_up(costs.totals, sim)


@pytest.mark.parametrize("api", ["chat"])
def test_several_answers_to_one_call(api: str, model: ChatOpenAI, sim: Simulator) -> None:
    """`n=2` is one call, with one usage."""
    asked: list[list[BaseMessage]] = [[HumanMessage("Hi.")]]
    costs = costs_of(lambda config: model.generate(asked, callbacks=config["callbacks"], n=2))
    assert costs.totals.calls == 1
    assert_adds_up(costs.totals, sim)


@pytest.mark.parametrize("api", ["chat"])
def test_langchains_cache(api: str, model: ChatOpenAI, sim: Simulator) -> None:
    """An answer from the cache is no call, also when it comes before its first run has ended."""
    cached = model.model_copy(update={"cache": InMemoryCache()})
    twice: list[list[BaseMessage]] = [[HumanMessage("Hi.")], [HumanMessage("Hi.")]]

    def run(config: Any) -> None:
        cached.generate(twice, callbacks=config["callbacks"])
        cached.invoke("Hi.", config)

    costs = costs_of(run)
    assert len(sim.requests) == costs.totals.calls == 1
    assert_adds_up(costs.totals, sim)


class Wrapper(BaseChatModel):
    """A chat model around another one."""

    inner: Any
    passes_callbacks: bool = True

    @property
    def _llm_type(self) -> str:
        return "wrapper"

    def _generate(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any
    ) -> ChatResult:
        config = {"callbacks": run_manager.handlers} if self.passes_callbacks else None
        message = self.inner.invoke(messages, config)
        return ChatResult(generations=[ChatGeneration(message=message)])


@both_apis
@pytest.mark.parametrize("passes", [True, False])
def test_a_model_around_a_model(api: str, passes: bool, model: ChatOpenAI, sim: Simulator) -> None:
    """Two runs, one call, also if only the outer run has the handler."""
    wrapper = Wrapper(inner=model, passes_callbacks=passes)
    costs = costs_of(lambda config: wrapper.invoke("Hi.", config))
    assert costs.totals.calls == 1
    assert_adds_up(costs.totals, sim)


# --- what a call went through ---------------------------------------------------------------------


def test_a_record_is_complete(make: Make, sim: Simulator) -> None:
    """Attempts, fallback and premium; the run, its parent, tags and plain metadata."""
    sim.script(Fault.refuse())
    records: list[CallRecord] = []
    costs = FlexCostCallbackHandler(on_record=records.append)
    chain = PROMPT | make(policy={"patience": 0}, tags=["model"])
    run_id = uuid4()

    chain.invoke(
        INK,
        {
            "callbacks": [costs],
            "run_id": run_id,
            "tags": ["essay", "draft"],
            "metadata": {"team": "press", "budget": 7, "nested": {"not": "plain"}},
        },
    )

    (record,) = records
    assert record.framework == "langchain"
    assert [attempt.outcome for attempt in record.attempts] == ["capacity", "served"]
    assert (record.fallback, record.lane, record.first_lane) == ("capacity", "standard", "flex")
    assert record.cost.total is not None
    assert record.premium == record.cost.total / 2
    assert record.parent_run_id == str(run_id)
    assert record.run_id not in (None, str(run_id))
    assert set(record.tags) == {"essay", "draft", "model"}
    assert record.metadata["team"] == "press"
    assert record.metadata["budget"] == 7
    assert "nested" not in record.metadata
    totals = costs.totals
    assert (totals.fallback_calls, totals.refusals) == (1, 1)
    assert totals.fallback_premium == record.premium
    assert totals.by_tag["essay"].cost == totals.cost


@both_apis
def test_a_failed_call(api: str, model: ChatOpenAI, sim: Simulator) -> None:
    """It costs nothing and is on the record, by the error that the caller sees."""
    sim.script(Fault.status(400), Fault.status(400))

    def run(config: Any) -> None:
        with pytest.raises(openai.BadRequestError):
            model.invoke("Hi.", config)
        with pytest.raises(openai.BadRequestError):
            list(model.stream("Hi.", config))

    costs = costs_of(run)
    assert all(str(record.error).endswith("RequestError") for record in costs.records)
    assert (costs.totals.calls, costs.totals.failed_calls) == (0, 2)
    assert costs.totals.cost == 0


def test_a_stall_is_possibly_billed(make: Make, sim: Simulator) -> None:
    """With the bound that the answer after it sets: its input, and the most it could write."""
    sim.script(Fault.stall())
    model = make(policy={"flex_timeout": 0.2, "patience": 0}, max_tokens=1000)
    costs = costs_of(lambda config: model.invoke("Hi.", config))
    (record,) = costs.records
    assert record.usage is not None
    assert record.possibly_billed_attempts == 1
    rate_in, rate_out = Decimal(1), Decimal(4)
    bound = (rate_in * record.usage.input_tokens + rate_out * 1000) / 1_000_000
    assert costs.totals.possibly_billed == record.possibly_billed == bound


@both_apis
def test_a_stream_that_its_reader_leaves(api: str, make: Make, sim: Simulator) -> None:
    """No answer, possibly billed; sync or async, and once."""
    model = make(use_responses_api=api == "responses")
    tagged = {"tags": ["left"]}

    def leave(config: Any) -> None:
        chunks = model.stream("Write all of it.", config | tagged)
        next(chunks)
        chunks.close()  # type: ignore[attr-defined]  # it is a generator

    async def aleave(config: Any) -> None:
        async for _ in model.astream("Write all of it.", config | tagged):
            break

    for run in (leave, lambda config: asyncio.run(aleave(config))):
        costs = costs_of(run)
        gc.collect()
        sums = costs.totals.by_tag["left"]
        assert (sums.calls, sums.failed_calls, sums.possibly_billed_attempts) == (0, 1, 1)


@both_apis
def test_a_stream_left_at_its_very_end(api: str, model: ChatOpenAI, sim: Simulator) -> None:
    """Who leaves with the usage in hand has had the answer."""

    def run(config: Any) -> None:
        for chunk in model.stream("Hi.", config):
            if chunk.usage_metadata:
                break

    costs = costs_of(run)
    gc.collect()
    assert (costs.totals.calls, costs.totals.failed_calls) == (1, 0)
    assert_adds_up(costs.totals, sim)


@both_apis
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_cancelled_call(api: str, streamed: bool, make: Make, sim: Simulator) -> None:
    """LangChain notifies no handler of a cancelled run; the call is recorded as possibly billed."""
    model = make(use_responses_api=api == "responses")
    costs = FlexCostCallbackHandler()
    sim.script(Fault.stall())

    async def ask() -> None:
        config: Any = {"callbacks": [costs], "tags": ["gone"]}
        if streamed:
            async for _ in model.astream("Hi.", config):
                pass
        else:
            await model.ainvoke("Hi.", config)

    task = asyncio.create_task(ask())
    while not sim.in_flight:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    sums = costs.totals.by_tag["gone"]
    assert (sums.calls, sums.failed_calls, sums.possibly_billed_attempts) == (0, 1, 1)


# --- the block ------------------------------------------------------------------------------------


@both_apis
async def test_a_block_counts_all_runs_inside(api: str, model: ChatOpenAI, sim: Simulator) -> None:
    """Without being passed along; blocks inside blocks and handlers beside them all count."""
    own = FlexCostCallbackHandler()
    with get_flex_cost_callback() as outer:
        model.invoke("Hi.", {"callbacks": [own]})
        with get_flex_cost_callback() as inner:
            (PROMPT | model).batch([INK, INK], {"callbacks": [own]})
            list(model.stream("Hi."))
        await asyncio.create_task(model.ainvoke("Hi."))
    model.invoke("Hi.")
    assert (own.totals.calls, inner.totals.calls, outer.totals.calls) == (3, 3, 5)
    gc.collect()


def test_a_block_ends_with_an_error(make: Make, sim: Simulator) -> None:
    """Calls after the block are not counted."""
    with pytest.raises(KeyError), get_flex_cost_callback() as costs:
        raise KeyError
    make().invoke("Hi.")
    assert costs.totals.calls == 0


def test_blocks_leave_nothing_behind(make: Make, sim: Simulator) -> None:
    """LangChain keeps every context variable registered with it, so blocks reuse a few."""
    for _ in range(3):
        with get_flex_cost_callback(), get_flex_cost_callback():
            pass
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: copy_context().run(_block), range(20)))
    assert len(callbacks._hook_variables) == 2


def _block() -> None:
    with get_flex_cost_callback():
        pass


# --- strange answers and strange listeners --------------------------------------------------------


def test_a_listener_that_raises_breaks_no_run(
    make: Make, sim: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    """The call counts, the answer comes, and the log has the error."""

    def raises(record: CallRecord) -> None:
        raise RuntimeError("the disk is full")

    costs = FlexCostCallbackHandler(on_record=raises)
    with caplog.at_level(logging.WARNING):
        assert make().invoke("Hi.", {"callbacks": [costs]}).text
    assert "the disk is full" in caplog.text
    assert costs.totals.calls == 1


@pytest.mark.parametrize("report", [{}, {"usage": 3}, "text", {"usage": None, "attempts": None}])
def test_a_report_that_cannot_be_read(report: Any, make: Make, sim: Simulator) -> None:
    """It is counted, unpriced, and says why."""
    message = make().invoke("Hi.")
    message.response_metadata["flextier"] = report
    costs = FlexCostCallbackHandler(keep_records=1)
    costs.on_llm_end(
        LLMResult(generations=[[ChatGeneration(message=message)]]), run_id=uuid4(), tags=["odd"]
    )
    assert costs.totals.unpriced_calls == costs.totals.by_tag["odd"].calls == 1
    assert "cannot be read" in str(costs.records[0].cost.reason)


def test_records_are_kept_on_demand(make: Make, sim: Simulator) -> None:
    """``keep_records`` keeps none, the last few or all records; they add up by metadata, too."""
    none, two, every = (FlexCostCallbackHandler(keep_records=keep) for keep in (0, 2, None))
    for team in ("a", "b", "a"):
        make().invoke("Hi.", {"callbacks": [none, two, every], "metadata": {"team": team}})
    assert (len(none.records), len(two.records), len(every.records)) == (0, 2, 3)
    assert CostTotals(every.records) == none.totals
    assert CostTotals(r for r in every.records if r.metadata["team"] == "a").calls == 2
    assert "3 calls" in repr(every)


def test_open_runs_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that never end are dropped from memory; one that ends later is still counted."""
    monkeypatch.setattr("flextier.langchain.cost_handler._MAX_OPEN", 2)
    costs = FlexCostCallbackHandler()
    runs = [uuid4() for _ in range(5)]
    for run_id in runs:
        costs.on_chat_model_start({}, [], run_id=run_id)
    assert len(costs._open_runs) == 2
    costs.on_llm_end(LLMResult(generations=[]), run_id=runs[0])
    assert costs.totals.unpriced_calls == 1


async def test_it_counts_where_the_run_is(make: Make, sim: Simulator) -> None:
    """Async runs do not hand it to another thread."""
    threads: list[int] = []
    costs = FlexCostCallbackHandler(on_record=lambda _: threads.append(threading.get_ident()))
    await make().ainvoke("Hi.", {"callbacks": [costs]})
    assert threads == [threading.get_ident()]


def test_fallbacks_and_retries_that_leave_a_spent_budget_alone(make: Make, sim: Simulator) -> None:
    """As docs/langchain.md says: named exceptions only, and nothing is sent."""
    model = make()
    only = (openai.APIError,)
    agent = create_agent(model, [], middleware=[ModelRetryMiddleware(retry_on=only)])
    runs: list[Callable[[], Any]] = [
        lambda: model.with_fallbacks([make()], exceptions_to_handle=only).invoke("Hi."),
        lambda: model.with_retry(retry_if_exception_type=only).invoke("Hi."),
        lambda: agent.invoke({"messages": [HumanMessage("Hi.")]}),
    ]
    with budget("0.000001"):
        model.invoke("Hi.")
        for run in runs:
            with pytest.raises(BudgetExceeded):
                run()
    assert len(sim.requests) == 1


def test_a_call_that_is_not_made_counts_nowhere(make: Make) -> None:
    """A spent budget stops it before any request: it is no failed call."""
    costs, model = FlexCostCallbackHandler(), make()
    with budget("0.000001"):
        model.invoke("Hi.", {"callbacks": [costs]})
        with pytest.raises(BudgetExceeded):
            model.invoke("Hi.", {"callbacks": [costs]})
    assert (costs.totals.calls, costs.totals.failed_calls) == (1, 0)
