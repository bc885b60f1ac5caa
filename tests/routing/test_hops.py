"""One warmed-up call can be followed: how often it passes from one file of flextier to another."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import flextier
from flextier import FlexOpenAI
from flextier.langchain import ChatOpenAIFlex
from flextier.sim import Simulator

SOURCE = Path(flextier.__file__).parent


def sdk(sim: Simulator) -> Callable[[], object]:
    """A call of the SDK."""
    client = FlexOpenAI(base_url=sim.base_url, api_key="x")
    messages: Any = [{"role": "user", "content": "Hi."}]
    return lambda: client.chat.completions.create(model="o4-mini", messages=messages)


def langchain(sim: Simulator) -> Callable[[], object]:
    """A call of a chat model of LangChain."""
    model = ChatOpenAIFlex(model="o4-mini", base_url=sim.base_url, api_key="x")
    return lambda: model.invoke("Hi.")


def llama_index(sim: Simulator) -> Callable[[], object]:
    """A call of an LLM of LlamaIndex."""
    if find_spec("llama_index") is None:
        pytest.skip("LlamaIndex is not installed")
    from llama_index.core.llms import ChatMessage

    from flextier.llama_index import OpenAIFlex

    llm = OpenAIFlex(model="o4-mini", api_base=sim.base_url, api_key="x")
    return lambda: llm.chat([ChatMessage(role="user", content="Hi.")])


@pytest.mark.parametrize(
    ("make", "hops", "files"), [(sdk, 46, 13), (langchain, 60, 18), (llama_index, 60, 18)]
)
def test_a_call_passes_through_few_files(
    make: Callable[[Simulator], Callable[[], object]],
    hops: int,
    files: int,
    flextier_sim: Simulator,
) -> None:
    """The changes of the file that is run, and the files, are bounded."""
    call = make(flextier_sim)
    call()
    seen: list[str] = []

    def note(frame: Any, event: str, _: object) -> None:
        file = Path(frame.f_code.co_filename)
        if event == "call" and SOURCE in file.parents and "sim" not in file.parts:
            seen.append(str(file.relative_to(SOURCE)))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(before)
    changes = [file for last, file in zip(["", *seen], seen, strict=False) if file != last]
    assert len(set(seen)) <= files, set(seen)
    assert len(changes) <= hops, changes
