"""What LlamaIndex has to know of a model, also where its tables are older than the model.

LlamaIndex looks models up by their exact name: an unlisted one has no context size, and is asked
with settings that reasoning models refuse (`temperature`, `max_tokens`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from flextier.llama_index._requires import needs_llama_index

with needs_llama_index():
    from llama_index.llms.openai.utils import (
        ALL_AVAILABLE_MODELS,
        CHAT_MODELS,
        DISCONTINUED_MODELS,
        O1_MODELS,
        RESPONSES_API_ONLY_MODELS,
        is_function_calling_model,
    )

SAFE_WINDOW = 128_000
"""Tokens assumed for a reasoning model that is in no table: no listed one that takes tools has
less, so that what is packed into prompts fits."""

_REASONING_NAME = re.compile(r"o\d|gpt-(?:[5-9]|[12]\d)(?!\d)")
_DATE = re.compile(r"-\d{4}(-\d{2}-\d{2})?$")


class ModelInfo(NamedTuple):
    """What is known of a model."""

    listed: bool
    """Whether LlamaIndex itself knows the model under this name."""
    window: int | None
    """Context size in tokens, from LlamaIndex's tables. None: not in them."""
    is_chat: bool
    """Whether it answers Chat Completions; if not, the older Completions."""
    calls_tools: bool
    """Whether it takes tools."""
    is_reasoning: bool
    """Whether it refuses `temperature` and wants `max_completion_tokens`."""


@lru_cache(maxsize=256)
def facts_of(model: str) -> ModelInfo:
    """What is known of a model, by its name; fine-tuned and dated names included."""
    base = _base_of(model)
    tables = {**ALL_AVAILABLE_MODELS, **RESPONSES_API_ONLY_MODELS}
    known = base if base in tables else _DATE.sub("", base)
    return ModelInfo(
        listed=model in ALL_AVAILABLE_MODELS or model in DISCONTINUED_MODELS,
        window=tables.get(known),
        is_chat=known in CHAT_MODELS or known not in ALL_AVAILABLE_MODELS,
        calls_tools=is_function_calling_model(known),
        is_reasoning=known in O1_MODELS or bool(_REASONING_NAME.match(base)),
    )


def _base_of(model: str) -> str:
    """The model under a fine-tuned one (``ft:BASE:org::id``, once ``BASE:ft-org-id``)."""
    if model.startswith("ft:"):
        return model.split(":")[1]
    return model.partition(":ft-")[0]
