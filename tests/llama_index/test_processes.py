"""Calls that LlamaIndex makes in processes of its own, and in plain threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flextier import override, track, wrap
from flextier.costs import Ledger, record_calls
from flextier.sim import Simulator
from tests.ledger.calls import python
from tests.llama_index.callers import CHAT
from tests.llama_index.llms import OURS, make

_PIPELINE = """
import sys

if __name__ == "__main__":
    from llama_index.core.extractors import SummaryExtractor
    from llama_index.core.ingestion import IngestionPipeline
    from llama_index.core.schema import TextNode
    from flextier import track
    from flextier.llama_index import OpenAIFlex

    place = {"api_key": "sk-fake-key-for-tests", "api_base": sys.argv[1]}
    llm = OpenAIFlex(model="o3", policy={"lanes": "standard"}, **place)
    pipeline = IngestionPipeline(transformations=[SummaryExtractor(llm=llm, show_progress=False)])
    with track() as calls:
        nodes = pipeline.run(nodes=[TextNode(text=f"Number {n}.") for n in range(6)], num_workers=2)
    assert calls == []
    assert [node.metadata["section_summary"] for node in nodes]
"""


def test_the_processes_of_a_pipeline(
    sim: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks do not reach them; the policy of the LLM does, and ``FLEXTIER_LEDGER``."""
    file = tmp_path / "flextier.db"
    monkeypatch.setenv("FLEXTIER_LEDGER", str(file))
    done = python(_PIPELINE, sim.base_url)
    assert done.returncode == 0, done.stderr
    rows = list(Ledger(file, readonly=True).records())
    assert len({row.call_id for row in rows}) == len(rows) == len(sim.requests) == 6
    assert {(row.framework, row.lane) for row in rows} == {("llama-index", "standard")}


@pytest.mark.parametrize("cls", OURS)
def test_plain_threads(cls: Any, sim: Simulator) -> None:
    """A wrapped function is inside the blocks; a plain one is seen by process-wide ones alone."""
    llm = make(cls, sim)

    def ask(number: int) -> str:
        return str(llm.chat(CHAT).additional_kwargs["flextier"]["lane"])

    with (
        ThreadPoolExecutor(4) as pool,
        record_calls(scope="process") as totals,
        track() as calls,
        override(lanes=("standard",)),
    ):
        assert list(pool.map(wrap(ask), range(5))) == ["standard"] * 5
        assert list(pool.map(ask, range(5))) == ["flex"] * 5
    assert (len(calls), totals.calls) == (5, 10)
