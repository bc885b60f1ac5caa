"""Calls that flextier does not route: their tokens, tier and vendor, as LangChain reports them."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from langchain_core.language_models import FakeListLLM, GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from flextier.costs import CallRecord, PriceBook, Usage, set_price_book
from flextier.langchain import FlexCostCallbackHandler
from flextier.langchain.records import price_list_names
from flextier.langchain.usage import reported_usage
from flextier.sim import Simulator
from tests.langchain.conftest import KEY

TOKENS = {"input_tokens": 1000, "output_tokens": 500, "total_tokens": 1500}


@pytest.fixture
def own_prices() -> Iterator[None]:
    """A price book of the test's own, which no other test sees."""
    before = set_price_book(None)
    yield
    set_price_book(before)


def record_of(usage: Any, **facts: Any) -> CallRecord:
    """The record of a call whose message has this usage and these facts."""
    message = AIMessage("Hi.", response_metadata={"model_name": "o3", **facts})
    object.__setattr__(message, "usage_metadata", usage)  # whatever it is
    costs = FlexCostCallbackHandler(keep_records=1)
    GenericFakeChatModel(messages=iter([message])).invoke("Hi.", {"callbacks": [costs]})
    (record,) = costs.records
    return record


def details(inputs: Any = None, outputs: Any = None) -> dict[str, Any]:
    """Usage of 1,000 tokens in and 500 out, with these parts."""
    return {**TOKENS, "input_token_details": inputs, "output_token_details": outputs}


@pytest.mark.parametrize(
    ("metadata", "usage", "tier"),
    [
        (TOKENS, Usage(1000, 500), None),
        (details(), Usage(1000, 500), None),
        (
            details({"cache_read": 600, "cache_creation": 300}, {"reasoning": 400}),
            Usage(1000, 500, 600, 300, 400),
            None,
        ),
        (  # as langchain-openai has it: the cache writes are not taken off `flex`
            details(
                {"flex": 400, "flex_cache_read": 600, "flex_cache_creation": 300},
                {"flex": 100, "flex_reasoning": 400},
            ),
            Usage(1000, 500, 600, 300, 400),
            "flex",
        ),
        (
            details({"priority": 400, "priority_cache_read": 600}, {"priority": 500}),
            Usage(1000, 500, 600),
            "priority",
        ),
        (  # as langchain-anthropic has it: writes by how long they last, the sum left out
            details(
                {
                    "cache_read": 1,
                    "cache_creation": 0,
                    "ephemeral_5m_input_tokens": 20,
                    "ephemeral_1h_input_tokens": 300,
                }
            ),
            Usage(1000, 500, 1, 320),
            None,
        ),
        (details({"cache_read": None, "unknown": 5}), Usage(1000, 500), None),
    ],
)
def test_usage_is_read_without_counting_twice(metadata: Any, usage: Usage, tier: Any) -> None:
    """Totals count, and of the parts each once, with a tier before their names or without."""
    reported = reported_usage(metadata)
    assert (reported.usage, reported.tier, reported.unpriced) == (usage, tier, None)


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        "text",
        {"input_tokens": 1},
        {"input_tokens": -1, "output_tokens": 1},
        {"input_tokens": 1.5, "output_tokens": 1},
        {"input_tokens": "1", "output_tokens": 1},
        {**TOKENS, "input_token_details": [1]},
        {**TOKENS, "input_token_details": {"cache_read": "many"}},
    ],
)
def test_strange_usage_is_unpriced(metadata: Any) -> None:
    """It breaks nothing and is no zero: the call counts, and the record says why."""
    record = record_of(metadata)
    assert record.answered
    assert record.usage is None
    assert record.cost.basis == "unpriced"
    assert "cannot be read" in str(record.cost.reason)


def test_no_usage_is_unpriced() -> None:
    """A call of a model that reports no usage counts, without a cost."""
    record = record_of(None)
    assert (record.answered, record.usage, record.cost.total) == (True, None, None)
    assert "no readable usage" in str(record.cost.reason)


def test_parts_that_cannot_be_are_unpriced() -> None:
    """The token counts are kept as reported; the cost is unknown."""
    record = record_of(details({"cache_read": 5000}))
    assert record.usage == Usage(1000, 500, 5000)
    assert record.cost.basis == "unpriced"


def test_audio_is_unpriced() -> None:
    """The usage does not separate audio from text, whose rates differ."""
    record = record_of(details({"audio": 10}))
    assert record.usage == Usage(1000, 500)
    assert (record.cost.basis, record.cost.total) == ("unpriced", None)
    assert "audio" in str(record.cost.reason)


def test_an_hours_cache_is_estimated() -> None:
    """It costs more than the listed rate of cache writes."""
    parts = {"ephemeral_1h_input_tokens": 1000}
    record = record_of(details(parts), model_name="claude-opus-4-5", model_provider="anthropic")
    assert record.cost.basis == "estimated"
    assert "an hour" in str(record.cost.reason)


@pytest.mark.parametrize(
    ("reported", "lane"),
    [
        ({}, "standard"),
        ({"service_tier": "default"}, "standard"),
        ({"service_tier": "on_demand"}, "standard"),
        ({"service_tier": "flex"}, "flex"),
        ({"service_tier": "priority"}, "priority"),
        ({"service_tier": None}, "standard"),
    ],
)
def test_the_lane_is_that_of_the_answer(reported: Any, lane: str) -> None:
    """OpenAI's tiers map to lanes; standard if none is reported."""
    assert record_of(TOKENS, **reported).lane == lane


def test_the_tier_of_the_keys_counts_where_there_is_no_other() -> None:
    """Usage may come without the rest of the answer."""
    assert record_of(details({"flex": 1000})).lane == "flex"


@pytest.mark.parametrize(
    ("provider", "model", "rates"),
    [
        ("anthropic", "claude-opus-4-5", ("5", "25")),
        ("google_genai", "gemini-2.5-flash", ("0.30", "2.50")),
        ("openai", "o3", ("2", "8")),
    ],
)
def test_other_vendors(provider: str, model: str, rates: tuple[str, str]) -> None:
    """By the vendor that the answer names, at its published rates."""
    record = record_of(TOKENS, model_name=model, model_provider=provider)
    given, made = map(Decimal, rates)
    assert record.cost.basis == "exact"
    assert record.cost.total == (given * 1000 + made * 500) / 1_000_000


@pytest.mark.usefixtures("own_prices")
def test_a_vendor_without_prices() -> None:
    """A local model with a known name has no API price, unless you set rates for it."""
    facts = {"model_name": "mistral-large-latest", "model_provider": "ollama"}
    assert record_of(TOKENS, **facts).cost.basis == "unpriced"
    set_price_book(PriceBook(rates={"ollama/mistral-large-latest": {"input": "1", "output": "2"}}))
    assert record_of(TOKENS, **facts).cost.total == Decimal("0.002")


def test_names_in_the_price_list() -> None:
    """LangChain's vendor, then the answer's; the answer's model, then the one asked for."""
    assert price_list_names(("a", "b"), ("openai", None)) == ("a", "b")
    assert price_list_names((None, "b"), ("openai", "openai")) == ("b",)
    assert price_list_names(("a", "b"), ("bedrock", "anthropic")) == (
        "aws/a",
        "aws/b",
        "anthropic/a",
        "anthropic/b",
    )
    assert price_list_names(("a",), (None, None)) == ("a",)
    assert price_list_names((None, None), (None,)) == ("unknown",)


def test_a_completion_model_is_counted() -> None:
    """A model of texts has no message and no usage: counted, unpriced."""
    costs = FlexCostCallbackHandler()
    FakeListLLM(responses=["Hi."]).invoke("Hi.", {"callbacks": [costs], "tags": ["old"]})
    assert costs.totals.unpriced_calls == costs.totals.by_tag["old"].calls == 1


def test_a_stream_without_usage(sim: Simulator) -> None:
    """`ChatOpenAI` asks for none where `base_url` is set: unpriced, not free."""
    costs = FlexCostCallbackHandler()
    llm = ChatOpenAI(model="o3", base_url=sim.base_url, api_key=SecretStr(KEY))
    list(llm.stream("Hi.", {"callbacks": [costs]}))
    assert costs.totals.calls == costs.totals.unpriced_calls == 1
    assert costs.totals.cost == 0


def test_the_model_asked_for_names_the_call() -> None:
    """A snapshot answers; the price is asked for by its name first, the record is by yours."""
    message = AIMessage(
        "Hi.",
        usage_metadata=TOKENS,
        response_metadata={"model_name": "o3-2025-04-16", "model_provider": "openai"},
    )
    costs = FlexCostCallbackHandler(keep_records=1)
    model = GenericFakeChatModel(messages=iter([message]), metadata={"ls_model_name": "o3"})
    model.invoke("Hi.", {"callbacks": [costs]})
    (record,) = costs.records
    assert (record.model, record.served_model) == ("o3", "o3-2025-04-16")
    assert record.cost.model == "o3-2025-04-16"
