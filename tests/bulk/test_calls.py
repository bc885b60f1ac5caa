"""Runs over calls: lanes, costs, budgets, deadlines, LangChain, LlamaIndex; a real simulator."""

from __future__ import annotations

import asyncio
import signal
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda

from flextier import AsyncFlexOpenAI, FlexOpenAI, FlexPolicy
from flextier.bulk import BulkError, run
from flextier.langchain import ChatOpenAIFlex
from flextier.sim import BatchWeather, Fault, Simulator, Weather
from tests.bulk.helpers import read_csv, read_jsonl, write_jsonl

PROMPTS = [{"id": number, "prompt": f"question {number}"} for number in range(6)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Six questions."""
    return write_jsonl(tmp_path / "in.jsonl", PROMPTS)


@pytest.fixture
def account(flextier_sim: Simulator) -> dict[str, Any]:
    """Where clients call."""
    return {"base_url": flextier_sim.base_url, "api_key": "bulk"}


def asking(account: dict[str, Any]) -> Any:
    """An async function over the SDK."""
    client = AsyncFlexOpenAI(**account)

    async def ask(row: dict[str, Any]) -> Any:
        return await client.responses.create(model="o4-mini", input=row["prompt"])

    return ask


def test_costs_and_lanes(
    source: Path, tmp_path: Path, account: dict[str, Any], flextier_sim: Simulator
) -> None:
    """Every row has the lane and the cost of its calls; together they are the run's."""
    flextier_sim.script(Fault.refuse())
    result = run(asking(account), source, tmp_path / "out.csv", with_cost=True)
    rows = read_csv(tmp_path / "out.csv")
    assert {row["lane"] for row in rows} == {"flex"}
    assert "question 3" in rows[3]["output"]
    assert sum(Decimal(row["cost"]) for row in rows) == result.totals.cost > 0
    assert sum(Decimal(row["standard_cost"]) for row in rows) == result.totals.standard_cost
    assert result.totals.by_lane["flex"].calls == 6
    assert result.totals.refusals == 1
    again = run(asking(account), source, tmp_path / "out.csv", with_cost=True)
    assert again.totals == result.totals


def test_lanes_of_the_run(
    source: Path, tmp_path: Path, account: dict[str, Any], flextier_sim: Simulator
) -> None:
    """The ladder is that of the run, not of the client; sync clients in threads, too."""
    client = FlexOpenAI(**account)

    def ask(row: dict[str, Any]) -> Any:
        messages: Any = [{"role": "user", "content": row["prompt"]}]
        return client.chat.completions.create(model="o4-mini", messages=messages)

    result = run(ask, source, tmp_path / "out.jsonl", lanes="standard")
    assert [request.tier for request in flextier_sim.requests] == ["default"] * 6
    assert result.totals.by_lane["standard"].calls == 6
    assert "question 0" in read_jsonl(tmp_path / "out.jsonl")[0]["output"]


def test_what_a_failed_call_went_through(
    source: Path, tmp_path: Path, account: dict[str, Any], flextier_sim: Simulator
) -> None:
    """The errors file has the call's lane and attempts."""
    flextier_sim.script(Fault.status(400))
    result = run(asking(account), source, tmp_path / "out.jsonl", concurrency=1)
    assert (result.done, result.failed) == (5, 1)
    assert result.errors is not None
    error_row = read_jsonl(result.errors)[0]
    assert error_row["error"]["type"] == "BadRequestError"
    assert (error_row["lane"], [one["status"] for one in error_row["attempts"]]) == ("flex", [400])


def test_a_budget(source: Path, tmp_path: Path, account: dict[str, Any]) -> None:
    """Spent, the run drains and says so; it goes on with a larger one, and counts all starts."""
    output = tmp_path / "out.jsonl"
    first = run(asking(account), source, output, concurrency=1, budget="0.0000001")
    assert (first.done, first.pending, first.stopped, first.exit_status) == (1, 5, "budget", 1)
    assert not output.exists()
    with pytest.raises(BulkError, match=r"--budget"):
        run(asking(account), source, output, budget="0.0000001")
    whole = run(asking(account), source, output, budget=1)
    assert (whole.done, whole.resumed, whole.stopped) == (6, 1, None)
    assert whole.totals.calls == 6


def test_a_deadline(
    source: Path, tmp_path: Path, account: dict[str, Any], flextier_sim: Simulator
) -> None:
    """Rows not done by the deadline stay pending; calls that it interrupts are not errors."""
    flextier_sim.script(Fault.serve(), Fault.stall(), Fault.stall(), Fault.stall())
    output = tmp_path / "out.jsonl"
    first = run(asking(account), source, output, concurrency=1, deadline=0.5, lanes="flex")
    assert (first.done, first.failed, first.pending) == (1, 0, 5)
    assert (first.stopped, first.exit_status) == ("deadline", 1)
    flextier_sim.reset()
    whole = run(asking(account), source, output, deadline="1h")
    assert (whole.done, whole.resumed) == (6, 1)


def test_calls_that_are_detached(
    flextier_sim: Simulator, source: Path, tmp_path: Path, account: dict[str, Any]
) -> None:
    """The first Ctrl-C lets go of calls that wait in a batch; the next start finds it."""
    flextier_sim.weather = Weather(batch=BatchWeather(seconds=0.5))
    policy = FlexPolicy(lanes=("batch",), batch_window=0.05, batch_poll_interval=0.05)
    client = AsyncFlexOpenAI(**account, policy=policy)

    async def ask(row: dict[str, Any]) -> str:
        if row["id"] == 0 and flextier_sim.stats()["batches"]["created"]:
            return await _answer(client, row)
        if row["id"] == 0:
            while not flextier_sim.stats()["batches"]["created"]:
                await asyncio.sleep(0.01)
            signal.raise_signal(signal.SIGINT)
        return await _answer(client, row)

    first = run(ask, source, tmp_path / "out.jsonl")
    assert (first.done, first.failed, first.pending) == (0, 0, 6)
    assert (first.stopped, first.exit_status) == ("interrupted", 130)
    whole = run(ask, source, tmp_path / "out.jsonl")
    assert (whole.done, whole.failed) == (6, 0)
    assert flextier_sim.paid()["twice"] == []


async def _answer(client: AsyncFlexOpenAI, row: dict[str, Any]) -> str:
    messages: Any = [{"role": "user", "content": row["prompt"]}]
    answer = await client.chat.completions.create(model="o4-mini", messages=messages)
    return answer.choices[0].message.content or ""


class CountModelCalls(BaseCallbackHandler):
    """Counts the starts of models."""

    def __init__(self) -> None:
        self.models = 0

    def on_chat_model_start(self, *_: Any, **__: Any) -> None:
        """Count one."""
        self.models += 1


def test_a_chain(source: Path, tmp_path: Path, account: dict[str, Any]) -> None:
    """A chain gets the whole row; its own callbacks are notified."""
    counter = CountModelCalls()
    model = ChatOpenAIFlex(model="o4-mini", callbacks=[counter], **account)
    chain = ChatPromptTemplate.from_template("{id}: {prompt}") | model | StrOutputParser()
    result = run(chain, source, tmp_path / "out.jsonl")
    assert result.failed == 0
    assert "5: question 5" in read_jsonl(tmp_path / "out.jsonl")[5]["output"]
    assert counter.models == result.totals.calls == 6


def test_a_chat_model(source: Path, tmp_path: Path, account: dict[str, Any]) -> None:
    """A model, alone or first in a chain, gets a text, of the column that is called like one."""
    model = ChatOpenAIFlex(model="o4-mini", **account)
    for name, runnable in (("one", model), ("two", model | StrOutputParser())):
        result = run(runnable, source, tmp_path / f"{name}.jsonl")
        assert result.failed == 0
        assert "question 5" in read_jsonl(tmp_path / f"{name}.jsonl")[5]["output"]


def test_which_column(tmp_path: Path, account: dict[str, Any], flextier_sim: Simulator) -> None:
    """If several columns could be the input, an error asks for one before anything is sent."""
    source = write_jsonl(tmp_path / "in.jsonl", [{"a": "x", "b": "y"}])
    model = ChatOpenAIFlex(model="o4-mini", **account)
    with pytest.raises(BulkError, match=r"--input.*'a', 'b'"):
        run(model, source, tmp_path / "out.jsonl")
    assert flextier_sim.requests == []
    assert run(model, source, tmp_path / "out.jsonl", input_column="b").done == 1


def test_a_runnable_that_fails(source: Path, tmp_path: Path) -> None:
    """Its error is its row's."""

    async def fails(row: dict[str, Any]) -> Any:
        await asyncio.sleep(0)
        return {"half": 1 / (row["id"] % 2)}

    result = run(RunnableLambda(fails), source, tmp_path / "out.jsonl")
    assert (result.done, result.failed) == (3, 3)
    assert read_jsonl(tmp_path / "out.jsonl")[0]["output"] == {"half": 1.0}


@pytest.mark.skipif(find_spec("llama_index") is None, reason="LlamaIndex takes openai<3")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_llama_index(source: Path, tmp_path: Path, account: dict[str, Any]) -> None:
    """LLMs and query engines are given the text, and their answers are texts."""
    from llama_index.core import SummaryIndex
    from llama_index.core.schema import TextNode

    from flextier.llama_index import OpenAIFlex

    account = {"api_base": account["base_url"], "api_key": account["api_key"]}
    llm = OpenAIFlex(model="o4-mini", **account)
    engine = SummaryIndex([TextNode(text="The tide is high.")]).as_query_engine(llm=llm)
    for name, target in (("llm", llm), ("engine", engine)):
        result = run(target, source, tmp_path / f"{name}.jsonl", with_cost=True)
        assert result.failed == 0, (result.errors or source).read_text()
        rows = read_jsonl(tmp_path / f"{name}.jsonl")
        assert rows[5]["output"].startswith("[simulated] ")
        assert rows[5]["lane"] == "flex"
