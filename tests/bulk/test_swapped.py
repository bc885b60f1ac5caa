"""Runnables whose calls do not go through flextier, and what the summary says of money."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import openai
import pytest

from flextier import AsyncFlexOpenAI, FlexPolicy
from flextier.bulk import BulkError, run
from flextier.bulk.progress import summary
from flextier.sim import Simulator
from tests.bulk.helpers import write_jsonl


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Twenty rows."""
    return write_jsonl(tmp_path / "in.jsonl", ({"text": f"row {n}"} for n in range(20)))


@pytest.fixture
def stock(flextier_sim: Simulator) -> Callable[[dict[str, Any]], Any]:
    """A function that asks with the SDK's own client."""

    async def ask(row: dict[str, Any]) -> str:
        async with openai.AsyncOpenAI(base_url=flextier_sim.base_url, api_key="sk-stock") as client:
            return (await client.responses.create(model="o4-mini", input=row["text"])).output_text

    return ask


def test_a_budget_without_calls(stock: Any, source: Path, tmp_path: Path) -> None:
    """A limit on money that limits nothing ends the run after ten rows, which are kept."""
    output = tmp_path / "out.jsonl"
    with pytest.raises(
        BulkError, match="first 10 rows went through flextier, without effect: budget"
    ):
        run(stock, source, output, budget=1)
    with pytest.warns(UserWarning, match="without effect: lanes"):
        result = run(stock, source, output, lanes=["flex"])
    assert (result.done, result.resumed) == (20, 10)
    assert "no call went through flextier: nothing is known of their cost" in summary(result)


def test_few_rows(stock: Any, tmp_path: Path) -> None:
    """Fewer rows than that are run, with a warning."""
    few = write_jsonl(tmp_path / "few.jsonl", [{"text": "one"}, {"text": "two"}])
    with pytest.warns(UserWarning, match="of the first 2 rows went through flextier"):
        assert run(stock, few, tmp_path / "out.jsonl", budget=1, lanes="flex").done == 2


def test_calls_through_flextier(flextier_sim: Simulator, source: Path, tmp_path: Path) -> None:
    """Rows wait for the first call to begin, not for its response; the summary has the budget."""
    policy = FlexPolicy(batch_window=0.3, batch_poll_interval=0.1)
    client = AsyncFlexOpenAI(base_url=flextier_sim.base_url, api_key="sk-ours", policy=policy)

    async def ask(row: dict[str, Any]) -> str:
        return (await client.responses.create(model="o4-mini", input=row["text"])).output_text

    result = run(ask, source, tmp_path / "out.jsonl", lanes=("batch", "flex"), budget="2.50")
    assert result.done == 20
    assert result.totals.by_lane["batch"].calls == 20
    assert result.budget == Decimal("2.50")
    assert any(line.startswith("budget: $2.50, ") for line in summary(result))
    assert result.to_dict()["budget"] == "2.50"


def test_unpriced_calls(flextier_sim: Simulator, source: Path, tmp_path: Path) -> None:
    """The summary says how many calls are in no amount."""
    client = AsyncFlexOpenAI(base_url=flextier_sim.base_url, api_key="sk-ours")

    async def ask(row: dict[str, Any]) -> str:
        created = await client.responses.create(model="my-own-model", input=row["text"])
        return created.output_text

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = run(ask, source, tmp_path / "out.jsonl")
    assert result.totals.unpriced_calls == 20
    note = "20 calls without a known price, not in any amount: the real cost is higher."
    assert note in summary(result)
    assert "flex     20  unknown" in summary(result)


@pytest.mark.skipif(find_spec("llama_index") is None, reason="LlamaIndex takes openai<3")
def test_an_engine_that_streams(flextier_sim: Simulator, source: Path, tmp_path: Path) -> None:
    """It is refused before anything is sent."""
    from llama_index.core import SummaryIndex
    from llama_index.core.query_engine import RetryQueryEngine
    from llama_index.core.schema import TextNode

    from flextier.llama_index import OpenAIFlex

    llm = OpenAIFlex(model="o4-mini", api_base=flextier_sim.base_url, api_key="sk-ours")
    index = SummaryIndex([TextNode(text="The tide is high.")])
    engine = index.as_query_engine(llm=llm, streaming=True)
    for target in (engine, RetryQueryEngine(engine, evaluator=None)):
        with pytest.raises(BulkError, match="streaming=False"):
            run(target, source, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl.run").exists()
