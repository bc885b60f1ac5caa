"""The two LLMs, as tests make them: ours, and LlamaIndex's own for comparison."""

from __future__ import annotations

from typing import Any

from llama_index.llms.openai import OpenAI, OpenAIResponses

from flextier.llama_index import OpenAIFlex, OpenAIResponsesFlex
from flextier.sim import Simulator
from tests.client.callers import FAST, KEY

OURS = [OpenAIFlex, OpenAIResponsesFlex]
THEIRS = {OpenAIFlex: OpenAI, OpenAIResponsesFlex: OpenAIResponses}


def make(cls: Any, sim: Simulator, **arguments: Any) -> Any:
    """An LLM that asks the simulator, with a policy whose waits are short."""
    settings: dict[str, Any] = {"model": "o3", "api_key": KEY, "api_base": sim.base_url}
    if cls in OURS:
        settings["policy"] = FAST
    return cls(**{**settings, **arguments})
