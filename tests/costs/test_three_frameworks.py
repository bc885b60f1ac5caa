"""One scripted run through LangChain, LlamaIndex and the plain SDK: the same totals, to the digit.

Each framework counts with what it has for that; the simulator's own account is the fourth opinion.
LlamaIndex takes openai 2.x only: where it is not installed, the two others are compared.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import openai
import pytest

from flextier import AsyncFlexOpenAI, FlexOpenAI, override
from flextier.capacity import CAPACITY
from flextier.costs import CallRecord, CostTotals, Ledger, record_calls
from flextier.langchain import ChatOpenAIFlex, FlexCostCallbackHandler
from flextier.sim import Fault, Simulator
from tests.client.callers import FAST, KEY
from tests.langchain.bills import assert_adds_up

pytestmark = pytest.mark.sampled(2)

QUESTION = "Name a colour. Any will do."
LIMIT = 300
"""The most tokens that an answer may have: the bound of what a stall can have cost."""
CHAT, RESPONSES = "chat", "responses"
NOW_OR_STANDARD = {"patience": 0}
CACHED = {"input_tokens": 2_000, "cached_input_tokens": 1_024, "output_tokens": 90}

Sink = Callable[[CallRecord], object]


@dataclass(frozen=True)
class Step:
    """One call of the run."""

    api: str
    stream: bool = False
    faults: tuple[Fault, ...] = ()
    knobs: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    """What the record calls the error that ends it."""


def _steps(api: str, stream: bool) -> Iterator[Step]:
    """Everything that can become of a call, on one API, plain or streamed."""

    def step(*faults: Fault, error: str | None = None, **knobs: Any) -> Step:
        return Step(api, stream, faults, knobs, error)

    refused, served = Fault.refuse(), Fault.serve(usage=CACHED)
    yield step()
    yield step(served)
    yield step(refused, refused, served)
    yield step(refused, **NOW_OR_STANDARD)
    yield step(Fault.serve(tier="default"))
    yield step(Fault.stall(), flex_timeout=0.3, **NOW_OR_STANDARD)
    yield step(Fault.status(404), error="NotFoundError")
    yield step(refused, error="RateLimitError", lanes=("flex",), **NOW_OR_STANDARD)
    if stream:
        yield step(Fault.stream_end(after=3), error="StreamInterruptedError")


RUN = [
    step for api in (CHAT, RESPONSES) for stream in (False, True) for step in _steps(api, stream)
]
FAILED, FELL_BACK, REFUSALS, STALLS, BROKEN = 10, 12, 16, 4, 2


class SDK:
    """The SDK's own calls, inside of a block."""

    framework = "openai"

    def __init__(self, sim: Simulator, is_async: bool) -> None:
        make = AsyncFlexOpenAI if is_async else FlexOpenAI
        self._client: Any = make(base_url=sim.base_url, api_key=KEY, policy=FAST)

    @contextmanager
    def counting(self, sink: Sink) -> Iterator[CostTotals]:
        """Count the calls inside."""
        with record_calls(sink) as totals:
            yield totals

    def ask(self, api: str, stream: bool) -> Any:
        """Begin a call."""
        if api == RESPONSES:
            return self._client.responses.create(
                model="o3", input=QUESTION, max_output_tokens=LIMIT, stream=stream
            )
        return self._client.chat.completions.create(
            model="o3",
            messages=[{"role": "user", "content": QUESTION}],
            max_completion_tokens=LIMIT,
            stream=stream,
            **({"stream_options": {"include_usage": True}} if stream else {}),
        )

    def close(self) -> Any:
        """End the connections."""
        return self._client.close()


class LangChain:
    """``ChatOpenAIFlex`` with the callback handler."""

    framework = "langchain"

    def __init__(self, sim: Simulator, is_async: bool) -> None:
        settings: dict[str, Any] = {
            "model": "o3",
            "base_url": sim.base_url,
            "api_key": KEY,
            "policy": FAST,
            "max_tokens": LIMIT,
            "stream_usage": True,
        }
        self._models = {
            api: ChatOpenAIFlex(**settings, use_responses_api=api == RESPONSES)
            for api in (CHAT, RESPONSES)
        }
        self._is_async = is_async
        self._config: Any = {}

    @contextmanager
    def counting(self, sink: Sink) -> Iterator[CostTotals]:
        """Count the calls inside."""
        handler = FlexCostCallbackHandler(on_record=sink)  # type: ignore[arg-type]  # gives a bool
        self._config = {"callbacks": [handler]}
        yield handler.totals

    def ask(self, api: str, stream: bool) -> Any:
        """Begin a call."""
        model = self._models[api]
        if self._is_async:
            return (model.astream if stream else model.ainvoke)(QUESTION, self._config)
        return (model.stream if stream else model.invoke)(QUESTION, self._config)

    def close(self) -> Any:
        """Nothing: models share their connections."""


class LlamaIndex:
    """``OpenAIFlex`` and ``OpenAIResponsesFlex`` with the event handler."""

    framework = "llama-index"

    def __init__(self, sim: Simulator, is_async: bool) -> None:
        from llama_index.core.llms import ChatMessage

        from flextier.llama_index import OpenAIFlex, OpenAIResponsesFlex

        place: dict[str, Any] = {"api_base": sim.base_url, "api_key": KEY, "policy": FAST}
        with_usage = {"stream_options": {"include_usage": True}}
        self._llms = {
            CHAT: OpenAIFlex(model="o3", max_tokens=LIMIT, additional_kwargs=with_usage, **place),
            RESPONSES: OpenAIResponsesFlex(model="o3", max_output_tokens=LIMIT, **place),
        }
        self._is_async = is_async
        self._messages = [ChatMessage(role="user", content=QUESTION)]

    @contextmanager
    def counting(self, sink: Sink) -> Iterator[CostTotals]:
        """Count the calls inside."""
        from flextier.llama_index import FlexCostEventHandler

        with FlexCostEventHandler(on_record=sink) as handler:  # type: ignore[arg-type]
            yield handler.totals

    def ask(self, api: str, stream: bool) -> Any:
        """Begin a call."""
        llm = self._llms[api]
        if self._is_async:
            return (llm.astream_chat if stream else llm.achat)(self._messages)
        return (llm.stream_chat if stream else llm.chat)(self._messages)

    def close(self) -> Any:
        """Nothing: they close their connections themselves."""


FRAMEWORKS: list[Any] = [SDK, LangChain]
if find_spec("llama_index") is not None:
    FRAMEWORKS.append(LlamaIndex)


@pytest.fixture
def sim(flextier_sim: Any) -> Any:
    """A simulator with an open flex lane."""
    return flextier_sim


async def read(answer: Any, stream: bool) -> None:
    """Read what a framework hands out, to its end."""
    if inspect.isawaitable(answer):
        answer = await answer
    if stream and hasattr(answer, "__aiter__"):
        async for _ in answer:
            pass
    elif stream:
        for _ in answer:
            pass


async def run(framework: Any, sim: Simulator, is_async: bool, sink: Sink) -> CostTotals:
    """Make every call of the run, one after the other; what the framework's own counter says."""
    way = framework(sim, is_async)
    counting: AbstractContextManager[CostTotals] = way.counting(sink)
    with counting as totals:
        for step in RUN:
            sim.script(*step.faults)
            ends = pytest.raises(openai.OpenAIError) if step.error else nullcontext()
            with ends, override(**step.knobs):
                await read(way.ask(step.api, step.stream), step.stream)
    if inspect.isawaitable(closed := way.close()):
        await closed
    return totals


def afresh(sim: Simulator) -> None:
    """Neither the provider nor the process remembers a call."""
    sim.reset()
    CAPACITY.reset()


@pytest.mark.parametrize(
    "is_async",
    [pytest.param(False, id="sync", marks=pytest.mark.exhaustive), pytest.param(True, id="async")],
)
async def test_the_same_calls_come_to_the_same(is_async: bool, sim: Simulator) -> None:
    """Served, refused, fallen back, downgraded, stalled, broken off and failed: identical totals.

    They are what was billed, to the token and at the published rates to the last digit.
    """
    totals: dict[str, CostTotals] = {}
    for framework in FRAMEWORKS:
        afresh(sim)
        records: list[CallRecord] = []
        mine = await run(framework, sim, is_async, records.append)
        assert_adds_up(mine, sim)
        assert mine == CostTotals(records)
        assert {record.framework for record in records} == {framework.framework}
        assert [record.error for record in records] == [step.error for step in RUN]
        totals[framework.__name__] = mine

    first, *others = totals.values()
    assert [other.to_dict() for other in others] == [first.to_dict()] * len(others)
    assert first.calls == len(RUN) - FAILED
    assert (first.failed_calls, first.fallback_calls) == (FAILED, FELL_BACK)
    assert (first.refusals, first.possibly_billed_attempts) == (REFUSALS, STALLS + BROKEN)
    assert first.cached_input_tokens == 8 * 1_024
    assert first.saved == first.standard_cost - first.cost > 0
    # The question that an answered stall was asked is known, and most that it can have written.
    asked = first.by_lane["standard"].input_tokens // FELL_BACK
    assert first.possibly_billed == STALLS * Decimal(1 * asked + 4 * LIMIT) / 1_000_000
    assert first.by_tag == {}


async def test_all_of_them_in_one_ledger(sim: Simulator, tmp_path: Path) -> None:
    """What the three of them hand to a ledger is their sum there, and each by itself."""
    counted = []
    with Ledger(tmp_path / "flextier.db") as ledger:
        for framework in FRAMEWORKS:
            totals = await run(framework, sim, False, ledger.add)
            assert ledger.totals(framework=framework.framework) == totals
            counted.append(totals)
        kept = ledger.totals()
    assert kept == sum(counted, CostTotals())
    assert_adds_up(kept, sim)
