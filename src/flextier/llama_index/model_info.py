"""Facts of a model that LlamaIndex needs, also for models newer than its tables.

LlamaIndex looks models up by exact name. An unlisted model has no context size, and is called with
settings that reasoning models reject (`temperature`, `max_tokens`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from flextier._utils.extras import needs_extra

with needs_extra("llama-index"):
    from llama_index.llms.openai.utils import (
        ALL_AVAILABLE_MODELS,
        CHAT_MODELS,
        DISCONTINUED_MODELS,
        O1_MODELS,
        RESPONSES_API_ONLY_MODELS,
        is_function_calling_model,
    )

FALLBACK_CONTEXT_WINDOW = 128_000
"""Tokens assumed for an unlisted reasoning model: no listed one with tools has less."""

_REASONING_NAME = re.compile(r"o\d|gpt-(?:[5-9]|[12]\d)(?!\d)")
_DATE = re.compile(r"-\d{4}(-\d{2}-\d{2})?$")


class ModelInfo(NamedTuple):
    """Facts of a model."""

    listed: bool
    """Whether LlamaIndex's tables have the model under this name."""
    context_window: int | None
    """Tokens of its context, from LlamaIndex's tables; None: not in them."""
    is_chat: bool
    """Whether it has Chat Completions; otherwise the older Completions."""
    supports_tools: bool
    is_reasoning: bool
    """Whether it rejects `temperature` and requires `max_completion_tokens`."""


@lru_cache(maxsize=256)
def model_info(model: str) -> ModelInfo:
    """The facts of a model; fine-tuned and dated names have those of their base model."""
    base = _base_of(model)
    tables = {**ALL_AVAILABLE_MODELS, **RESPONSES_API_ONLY_MODELS}
    known = base if base in tables else _DATE.sub("", base)
    return ModelInfo(
        listed=model in ALL_AVAILABLE_MODELS or model in DISCONTINUED_MODELS,
        context_window=tables.get(known),
        is_chat=known in CHAT_MODELS or known not in ALL_AVAILABLE_MODELS,
        supports_tools=is_function_calling_model(known),
        is_reasoning=known in O1_MODELS or bool(_REASONING_NAME.match(base)),
    )


def _base_of(model: str) -> str:
    """The model under a fine-tuned one (``ft:BASE:org::id``, once ``BASE:ft-org-id``)."""
    if model.startswith("ft:"):
        return model.split(":")[1]
    return model.partition(":ft-")[0]
