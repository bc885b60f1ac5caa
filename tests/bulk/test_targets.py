"""What can be run: agents, workflows and evaluators of LlamaIndex, and generators."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from flextier import quote
from flextier.bulk import run
from flextier.sim import Simulator
from tests.bulk.helpers import read_jsonl, write_jsonl

llama_index = pytest.mark.skipif(
    find_spec("llama_index") is None, reason="LlamaIndex takes openai<3"
)
ROWS = [{"id": n, "question": f"How high is the tide of day {n}?"} for n in range(4)]


@pytest.fixture
def llm(flextier_sim: Simulator) -> Any:
    """A model of LlamaIndex."""
    from flextier.llama_index import OpenAIFlex

    return OpenAIFlex(model="o4-mini", api_base=flextier_sim.base_url, api_key="x")


def outputs(target: Any, place: Path, rows: list[dict[str, Any]] = ROWS) -> tuple[Any, list[Any]]:
    """The result of a run, and the responses."""
    result = run(target, write_jsonl(place / "in.jsonl", rows), place / "out.jsonl")
    assert result.failed == 0, (place / "out.jsonl.errors.jsonl").read_text()
    return result, [row["output"] for row in read_jsonl(place / "out.jsonl")]


@llama_index
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # LlamaIndex's
def test_an_agent(llm: Any, tmp_path: Path) -> None:
    """It gets the text; its calls are the row's, those of its tools included."""
    from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent

    def height(day: str) -> str:
        """The height of the tide of a day."""
        return "2 m"

    agent = FunctionAgent(tools=[height], llm=llm)
    for number, target in enumerate((agent, AgentWorkflow([agent]))):
        place = tmp_path / str(number)
        place.mkdir()
        result, answers = outputs(target, place)
        assert answers == ["[simulated] The tool answered: 2 m"] * 4
        assert result.totals.calls == 8
        found = quote(target, [row["question"] for row in ROWS], output_tokens=50)
        assert (found.calls.expected, found.errors) == (2, {})


@llama_index
def test_a_workflow(llm: Any, tmp_path: Path) -> None:
    """Its start event has the row's columns."""
    from llama_index.core.workflow import StartEvent, StopEvent, Workflow, step

    class Answers(Workflow):
        @step
        async def answer(self, event: StartEvent) -> StopEvent:
            found = await llm.acomplete(event.question)
            return StopEvent(result={"id": event.id, "answer": found.text})

    result, answers = outputs(Answers(), tmp_path)
    assert [answer["id"] for answer in answers] == [0, 1, 2, 3]
    assert "day 3" in answers[3]["answer"]
    assert result.totals.calls == 4


@llama_index
def test_an_evaluator(llm: Any, tmp_path: Path, flextier_sim: Simulator) -> None:
    """It gets the columns called like its arguments; the result is an object."""
    from llama_index.core.evaluation import FaithfulnessEvaluator

    rows = [{"id": 1, "query": "How high?", "response": "2 m", "contexts": "The tide is 2 m high."}]
    result, (verdict,) = outputs(FaithfulnessEvaluator(llm=llm), tmp_path, rows)
    assert verdict["response"] == "2 m"
    assert isinstance(verdict["passing"], bool)
    assert result.totals.calls == 1
    assert "The tide is 2 m high." in str(flextier_sim.requests[-1].body)


async def words(row: dict[str, Any]) -> AsyncIterator[str]:
    """The words of a row, one after the other."""
    for word in row["question"].split():
        yield word


def sync_words(row: dict[str, Any]) -> Iterator[str]:
    """The same, not async."""
    yield from row["question"].split()


@pytest.mark.parametrize("target", [words, sync_words, lambda row: words(row)])
def test_a_generator(target: Any, tmp_path: Path) -> None:
    """Its items are collected."""
    _, answers = outputs(target, tmp_path)
    assert answers[2] == ["How", "high", "is", "the", "tide", "of", "day", "2?"]
