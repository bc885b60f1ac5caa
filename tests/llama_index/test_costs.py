"""What LlamaIndex's calls cost: both handlers, over our LLMs and over LlamaIndex's own."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from decimal import Decimal
from typing import Any

import openai
import pytest
from llama_index.core.callbacks import CallbackManager
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.dispatcher import instrument_tags
from llama_index.core.llms import ChatMessage, MockLLM
from llama_index.core.prompts import PromptTemplate
from llama_index.llms.openai import OpenAI, OpenAIResponses
from pydantic import BaseModel

from flextier import BudgetExceeded, budget
from flextier.costs import CallRecord, record_calls
from flextier.llama_index import (
    FlexCostCallback,
    FlexCostEventHandler,
    OpenAIFlex,
    OpenAIResponsesFlex,
)
from flextier.sim import Fault, Simulator
from tests.client.callers import FAST, KEY
from tests.llama_index.llms import OURS, make

MESSAGES = [ChatMessage(role="user", content="Name a colour.")]
CLASSES = [OpenAIFlex, OpenAIResponsesFlex, OpenAI, OpenAIResponses]
WITH_USAGE = {"stream_options": {"include_usage": True}}
# US$ per million tokens of o3, as published: input, cached input, output.
RATES = {"flex": ("1", "0.25", "4"), "default": ("2", "0.5", "8")}


class Colour(BaseModel):
    """A structured answer."""

    name: str


def billed(sim: Simulator) -> Decimal:
    """What the simulator says it billed, at the published rates."""
    total = Decimal(0)
    for tier, row in sim.stats()["billed"]["o3"].items():
        plain, cached, output = map(Decimal, RATES[tier])
        total += plain * (row["input_tokens"] - row["cached_input_tokens"])
        total += cached * row["cached_input_tokens"] + output * row["output_tokens"]
    return total / 1_000_000


def ask_every_way(llm: Any) -> int:
    """One call each way; how many they are."""
    llm.complete("Name a colour.")
    llm.chat(MESSAGES)
    list(llm.stream_chat(MESSAGES))
    list(llm.stream_complete("Name a colour."))

    async def go() -> None:
        await llm.achat(MESSAGES)
        async for _ in await llm.astream_complete("Name a colour."):
            pass
        await llm._aclient.close()  # LlamaIndex's own would keep its connections

    asyncio.run(go())
    return 6


def make_any(cls: Any, sim: Simulator, **arguments: Any) -> Any:
    """An LLM of any of the classes, whose chat streams report their usage."""
    if cls in (OpenAIFlex, OpenAI):
        arguments.setdefault("additional_kwargs", WITH_USAGE)
    return make(cls, sim, **arguments)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_call_counts_once(cls: Any, sim: Simulator) -> None:
    """Plain and streamed, sync and async: to the last digit of what was billed."""
    old = FlexCostCallback()
    llm = make_any(cls, sim, callback_manager=CallbackManager([old]))
    with FlexCostEventHandler() as costs:
        calls = ask_every_way(llm)
    lane = "flex" if cls in OURS else "standard"
    assert (costs.totals.calls, costs.totals.failed_calls) == (calls, 0)
    assert costs.totals.cost == billed(sim) > 0
    assert set(costs.totals.by_lane) == {lane}
    assert costs.totals == old.totals


@pytest.mark.parametrize("cls", OURS)
def test_structured_predictions_count(cls: Any, sim: Simulator) -> None:
    """Structured predictions count, although LlamaIndex emits no event for the model call."""
    llm = make_any(cls, sim)
    with FlexCostEventHandler() as costs:
        llm.structured_predict(Colour, PromptTemplate("Name a colour."))
        asyncio.run(llm.astructured_predict(Colour, PromptTemplate("Name a colour.")))
        llm.as_structured_llm(Colour).complete("Name a colour.")
    assert costs.totals.calls == 3
    assert costs.totals.cost == billed(sim)


@pytest.mark.parametrize("cls", OURS)
def test_what_a_call_went_through_is_in_its_record(cls: Any, sim: Simulator) -> None:
    """Refusals, the fallback and its premium; the span; the same in both handlers."""
    sim.script(Fault.refuse())
    old_records: list[CallRecord] = []
    records: list[CallRecord] = []
    manager = CallbackManager([FlexCostCallback(on_record=old_records.append)])
    llm = make_any(cls, sim, policy=FAST.replace(patience=0), callback_manager=manager)
    with FlexCostEventHandler(on_record=records.append):
        llm.complete("Name a colour.")
    (record,) = records
    assert [attempt.outcome for attempt in record.attempts] == ["capacity", "served"]
    assert (record.fallback, record.lane, record.first_lane) == ("capacity", "standard", "flex")
    assert record.premium == record.cost.total / 2  # type: ignore[operator]  # it is priced
    assert str(record.run_id).startswith(f"{cls.__name__}.complete-")
    assert old_records[0].call_id == record.call_id
    assert old_records[0].cost == record.cost


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_a_failed_call_counts_as_one(cls: Any, stream: bool, sim: Simulator) -> None:
    """A failed call counts once, without cost, for our classes and for LlamaIndex's."""
    sim.script(Fault.status(404))
    old = FlexCostCallback()
    llm = make_any(cls, sim, callback_manager=CallbackManager([old]), max_retries=0)
    with FlexCostEventHandler() as costs, pytest.raises(openai.NotFoundError):
        list(llm.stream_chat(MESSAGES)) if stream else llm.chat(MESSAGES)
    assert (costs.totals.calls, costs.totals.failed_calls, costs.totals.cost) == (0, 1, 0)
    assert (old.totals.calls, old.totals.failed_calls) == (0, 1)


def test_a_chat_stream_without_usage_is_unpriced(sim: Simulator) -> None:
    """With ``stream_usage=False`` it is not requested; the reason says how to."""
    records: list[CallRecord] = []
    with FlexCostEventHandler(on_record=records.append) as costs:
        list(make(OpenAIFlex, sim, stream_usage=False).stream_chat(MESSAGES))
    assert (costs.totals.calls, costs.totals.unpriced_calls) == (1, 1)
    assert "include_usage" in str(records[0].cost.reason)


def test_an_llm_without_usage_is_unpriced() -> None:
    """Counted, with the model's name, and in no amount."""
    with FlexCostEventHandler() as costs:
        MockLLM().complete("Name a colour.")
    assert (costs.totals.calls, costs.totals.unpriced_calls) == (1, 1)


def test_tags_of_llama_index(sim: Simulator) -> None:
    """Instrument tags are the record's metadata, and its tags by name and value."""
    records: list[CallRecord] = []
    with FlexCostEventHandler(on_record=records.append) as costs:
        with instrument_tags({"team": "search", "prompt": ["not plain"]}):
            make(OpenAIFlex, sim).complete("Name a colour.")
        make(OpenAIFlex, sim).complete("Name a colour.")
    assert costs.totals.by_tag["team:search"].calls == 1
    assert records[0].metadata == {"team": "search"}
    assert records[1].tags == ()


def test_many_threads(sim: Simulator) -> None:
    """Each call once, all of them at the price that was billed."""
    llm = make(OpenAIResponsesFlex, sim)
    with FlexCostEventHandler() as costs:
        context = copy_context()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: context.copy().run(llm.complete, f"Hi {n}."), range(64)))
    assert costs.totals.calls == 64
    assert costs.totals.cost == billed(sim)


def test_two_handlers_and_a_block_agree(sim: Simulator) -> None:
    """All handlers and blocks count the same calls, and none after the block."""
    llm = make_any(OpenAIFlex, sim)
    outer = FlexCostEventHandler()
    with outer, FlexCostEventHandler() as inner, record_calls() as totals:
        llm.complete("Name a colour.")
    llm.complete("Name a colour.")
    assert outer.totals == inner.totals == totals
    handlers = get_dispatcher().event_handlers
    assert not any(isinstance(handler, FlexCostEventHandler) for handler in handlers)


def test_a_cancelled_stream_counts_as_failed(sim: Simulator) -> None:
    """A stream that is left half-way has no usage: what it cost is not known."""
    with FlexCostEventHandler() as costs:
        stream = make_any(OpenAIFlex, sim).stream_chat(MESSAGES)
        next(stream)
        stream.close()
        del stream
    assert (costs.totals.calls, costs.totals.failed_calls) == (0, 1)
    assert costs.totals.possibly_billed_attempts == 1


def _streamed_body(sim: Simulator, **arguments: Any) -> Any:
    list(make(OpenAIFlex, sim, **arguments).stream_chat(MESSAGES))
    return sim.requests[-1].body


def test_streams_are_asked_for_their_usage(sim: Simulator) -> None:
    """Unless ``stream_usage`` is False; what the caller set stays."""
    for stream_usage in (None, True):
        body = _streamed_body(sim, stream_usage=stream_usage)
        assert body["stream_options"] == {"include_usage": True}
    assert "stream_options" not in _streamed_body(sim, stream_usage=False)
    assert not any("flextier" in header for header in sim.requests[-1].headers)
    extra = {"stream_options": {"include_usage": False}}
    body = _streamed_body(sim, stream_usage=True, additional_kwargs=extra)
    assert body["stream_options"] == extra["stream_options"]


def test_a_stream_is_priced_without_a_further_chunk(sim: Simulator) -> None:
    """By default it has the chunks of LlamaIndex's own; the report is on the last one."""
    with FlexCostEventHandler() as costs:
        chunks = list(make(OpenAIFlex, sim).stream_chat(MESSAGES))
    assert costs.totals.cost == billed(sim) > 0
    theirs = list(OpenAI(model="o3", api_base=sim.base_url, api_key=KEY).stream_chat(MESSAGES))
    assert [chunk.delta for chunk in chunks] == [chunk.delta for chunk in theirs]
    assert "flextier" in chunks[-1].additional_kwargs


def test_a_stream_with_usage_is_priced(sim: Simulator) -> None:
    """The one chunk more has no text; the report is on it."""
    with FlexCostEventHandler() as costs:
        chunks = list(make(OpenAIFlex, sim, stream_usage=True).stream_chat(MESSAGES))
    assert costs.totals.cost == billed(sim) > 0
    assert chunks[-1].delta == ""
    assert chunks[-1].message.content == chunks[-2].message.content
    assert "flextier" in chunks[-1].additional_kwargs


def test_a_handler_that_is_attached_twice_counts_once(sim: Simulator) -> None:
    """Blocks in blocks, dispatchers under dispatchers: a call is a call, and stays attached."""
    handler, old = FlexCostEventHandler(), FlexCostCallback()
    llm = make(OpenAIFlex, sim, callback_manager=CallbackManager([old, old]))
    with handler:
        with handler:
            llm.complete("Name a colour.")
        llm.complete("Name a colour.")
    llm.complete("Name a colour.")
    assert handler.totals.calls == 2
    assert old.totals.calls == 3


def test_what_on_record_raises_harms_no_call(sim: Simulator) -> None:
    """The call returns its answer; a warning names the handler's error."""

    def full(record: CallRecord) -> None:
        raise OSError("no space left")

    manager = CallbackManager([FlexCostCallback(on_record=full)])
    llm = make(OpenAIFlex, sim, callback_manager=manager)
    with pytest.warns(UserWarning, match="no space left"):
        assert llm.complete("Name a colour.").text


def test_the_older_callback_counts_streams_that_are_left(sim: Simulator) -> None:
    """It has no report of them, but they are calls that failed."""
    old = FlexCostCallback()
    stream = make(OpenAIFlex, sim, callback_manager=CallbackManager([old])).stream_chat(MESSAGES)
    next(stream)
    stream.close()
    assert (old.totals.calls, old.totals.failed_calls) == (0, 1)


def test_a_call_that_is_not_made_counts_nowhere(sim: Simulator) -> None:
    """A spent budget stops it before any request: it is no failed call."""
    old = FlexCostCallback()
    llm = make(OpenAIFlex, sim, callback_manager=CallbackManager([old]))
    with FlexCostEventHandler() as costs, budget("0.000001"):
        llm.complete("Name a colour.")
        with pytest.raises(BudgetExceeded):
            llm.complete("Name a colour.")
    for totals in (costs.totals, old.totals):
        assert (totals.calls, totals.failed_calls) == (1, 0)
