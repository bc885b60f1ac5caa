"""The two LLMs, as tests make them: ours, and LlamaIndex's own for comparison."""

from __future__ import annotations

from typing import Any

from llama_index.llms.openai import OpenAI, OpenAIResponses

from flextier.llama_index import OpenAIFlex, OpenAIResponsesFlex
from flextier.sim import Simulator
from tests.client.callers import FAST, KEY

OURS = [OpenAIFlex, OpenAIResponsesFlex]
THEIRS = {OpenAIFlex: OpenAI, OpenAIResponsesFlex: OpenAIResponses}


made: list[Any] = []
"""The LLMs of the current test, whose sync clients are closed at its end: in a reference cycle, the
SDK's client may be finalized after its sockets, which then warn."""


def make(cls: Any, sim: Simulator, **arguments: Any) -> Any:
    """An LLM that asks the simulator, with a policy whose waits are short."""
    settings: dict[str, Any] = {"model": "o3", "api_key": KEY, "api_base": sim.base_url}
    if cls in OURS:
        settings["policy"] = FAST
    llm = cls(**{**settings, **arguments})
    made.append(llm)
    return llm
