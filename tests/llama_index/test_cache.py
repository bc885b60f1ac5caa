"""LlamaIndex's ingestion cache: no setting of how calls are routed pays for an ingestion again."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.extractors import (
    DocumentContextExtractor,
    KeywordExtractor,
    QuestionsAnsweredExtractor,
    SummaryExtractor,
    TitleExtractor,
)
from llama_index.core.indices.property_graph import SimpleLLMPathExtractor
from llama_index.core.ingestion import IngestionCache, IngestionPipeline
from llama_index.core.ingestion.pipeline import get_transformation_hash
from llama_index.core.node_parser import MarkdownElementNodeParser
from llama_index.core.schema import BaseNode, TextNode, TransformComponent
from llama_index.core.storage.docstore import SimpleDocumentStore
from pydantic import BaseModel

from flextier import FlexPolicy, override
from flextier.llama_index import OpenAIFlex
from flextier.sim import Simulator
from tests.client.callers import FAST
from tests.llama_index.llms import OURS, THEIRS, make

NODES = [TextNode(text=f"Chapter {number}.", id_=f"n{number}") for number in range(3)]

KNOBS: dict[str, dict[str, Any]] = {
    "a deadline": {"policy": {**FAST.model_dump(exclude_unset=True), "deadline": 600}},
    "a budget": {"policy": FlexPolicy(budget=5, lanes=("standard",))},
    "a timeout": {"timeout": 70},
    "retries": {"max_retries": 7},
}


class Around(TransformComponent):
    """A transformation of the caller's, which holds LLMs in several places."""

    llm: Any
    others: list[Any] = []  # noqa: RUF012 - a pydantic field

    def __call__(self, nodes: Any, **_: Any) -> Any:
        """Ask about each node."""
        for node in nodes:
            node.metadata["said"] = self.llm.complete(node.get_content()).text
        return nodes


class Answer(BaseModel):
    """What is asked for."""

    text: str


TRANSFORMATIONS: dict[str, Callable[[Any], TransformComponent]] = {
    "titles": lambda llm: TitleExtractor(llm=llm),
    "summaries": lambda llm: SummaryExtractor(llm=llm),
    "keywords": lambda llm: KeywordExtractor(llm=llm),
    "questions": lambda llm: QuestionsAnsweredExtractor(llm=llm),
    "contexts": lambda llm: DocumentContextExtractor(docstore=SimpleDocumentStore(), llm=llm),
    "paths": lambda llm: SimpleLLMPathExtractor(llm=llm),
    "elements": lambda llm: MarkdownElementNodeParser(llm=llm),
    "the caller's": lambda llm: Around(llm=llm, others=[llm, {"second": llm}]),
    "structured": lambda llm: Around(llm=llm.as_structured_llm(Answer)),
}


def key_of(transformation: TransformComponent) -> str:
    """The cache key of a transformation of some documents."""
    return get_transformation_hash(NODES, transformation)


def run(cls: Any, sim: Simulator, cache: IngestionCache, **arguments: Any) -> list[str]:
    """What the LLM has said of the nodes of an ingestion."""
    around = Around(llm=make(cls, sim, **arguments))
    pipeline = IngestionPipeline(transformations=[around], cache=cache)
    nodes: Sequence[BaseNode] = pipeline.run(nodes=[node.model_copy(deep=True) for node in NODES])
    return [node.metadata["said"] for node in nodes]


# --- keys ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("knob", KNOBS)
@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
@pytest.mark.parametrize("cls", OURS)
def test_no_knob_is_in_a_key(cls: Any, transformation: str, knob: str, sim: Simulator) -> None:
    """Wherever a transformation holds the LLM, its key is the same under other settings."""
    around = TRANSFORMATIONS[transformation]
    key = key_of(around(make(cls, sim)))
    assert key_of(around(make(cls, sim, **KNOBS[knob]))) == key


@pytest.mark.parametrize("cls", OURS)
def test_more_ways_to_set_knobs(cls: Any, sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables, copies, and the process that a pipeline's worker is."""
    llm = make(cls, sim)
    key = key_of(TitleExtractor(llm=llm))
    copied = llm.model_copy(update={"policy": {"deadline": 70}})
    assert key_of(TitleExtractor(llm=copied)) == key
    assert key_of(pickle.loads(pickle.dumps(TitleExtractor(llm=copied)))) == key
    monkeypatch.setenv("FLEXTIER_DEADLINE", "80")
    assert key_of(TitleExtractor(llm=make(cls, sim))) == key
    if cls is OpenAIFlex:
        assert key_of(TitleExtractor(llm=make(cls, sim, stream_usage=True))) == key


@pytest.mark.parametrize(
    "other",
    [
        {"model": "o4-mini"},
        {"additional_kwargs": {"seed": 3}},
        {"context_window": 5000},  # prompts are packed by it
    ],
)
@pytest.mark.parametrize("cls", OURS)
def test_what_asks_for_another_answer_is(cls: Any, other: dict[str, Any], sim: Simulator) -> None:
    """Arguments that change requests are in the key."""
    key = key_of(TitleExtractor(llm=make(cls, sim)))
    assert key_of(TitleExtractor(llm=make(cls, sim, **other))) != key


@pytest.mark.parametrize("cls", OURS)
def test_only_where_it_is_nested(cls: Any, sim: Simulator) -> None:
    """What is saved of the LLM itself has all of its settings, also after it was in a key."""
    llm = make(cls, sim, timeout=7, max_retries=5)
    nested = TitleExtractor(llm=llm).to_dict()["llm"]
    ours = {"policy", "timeout", "max_retries", "context_window"}
    ours |= {"stream_usage"} & set(type(llm).model_fields)
    assert not ours & set(nested)
    for whole in (llm.to_dict(), llm.model_dump(), llm.dict()):
        assert set(whole) == set(nested) | ours
        assert whole["policy"] == FAST.model_dump(mode="json", exclude_unset=True)
    assert cls.from_json(llm.to_json(), api_key="sk").policy == FAST
    assert '"policy"' in llm.model_dump_json()
    assert set(llm.model_dump(include={"policy", "model"})) == {"policy", "model", "class_name"}


@pytest.mark.parametrize("cls", OURS)
def test_the_swap_has_a_key_of_its_own(cls: Any, sim: Simulator) -> None:
    """LlamaIndex has the class and the API key in it: ours cannot be the parent's."""
    assert key_of(TitleExtractor(llm=make(cls, sim))) != key_of(
        TitleExtractor(llm=make(THEIRS[cls], sim))
    )


# --- the cache ----------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", OURS)
def test_an_ingestion_is_paid_once(
    cls: Any, sim: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A saved cache serves later runs, whatever their deadline, budget and limits are."""
    file = str(tmp_path / "cache.json")
    cache = IngestionCache()
    said = run(cls, sim, cache)
    cache.persist(file)
    assert len(sim.requests) == len(NODES)
    for arguments in KNOBS.values():
        saved = IngestionCache.from_persist_path(file)
        assert run(cls, sim, saved, **arguments) == said
    monkeypatch.setenv("FLEXTIER_DEADLINE", "80")
    with override(patience=1):
        assert run(cls, sim, IngestionCache.from_persist_path(file)) == said
    assert len(sim.requests) == len(NODES)


@pytest.mark.parametrize("cls", OURS)
async def test_an_async_ingestion_is_paid_once(cls: Any, sim: Simulator) -> None:
    """The same for `arun`."""
    cache = IngestionCache()
    for arguments in ({}, *KNOBS.values()):
        llm = make(cls, sim, **arguments)
        extractor = KeywordExtractor(llm=llm, show_progress=False)
        pipeline = IngestionPipeline(transformations=[extractor], cache=cache)
        await pipeline.arun(nodes=[node.model_copy(deep=True) for node in NODES])
    assert len(sim.requests) == len(NODES)


@pytest.mark.parametrize("cls", OURS)
def test_the_first_run_after_the_swap_pays(cls: Any, sim: Simulator) -> None:
    """What LlamaIndex's own class has cached is not found, as the docs say; then all is."""
    cache = IngestionCache()
    for one in (THEIRS[cls], cls, cls):
        run(one, sim, cache)
    assert len(sim.requests) == 2 * len(NODES)
