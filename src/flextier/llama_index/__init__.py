"""LlamaIndex on cheap lanes: ``OpenAIFlex`` and ``OpenAIResponsesFlex``."""

from flextier.llama_index.cost_handler import FlexCostEventHandler
from flextier.llama_index.events import FlexCallEvent, FlexFallbackEvent, FlexRetryEvent
from flextier.llama_index.legacy_callback import FlexCostCallback
from flextier.llama_index.openai import OpenAIFlex
from flextier.llama_index.openai_responses import OpenAIResponsesFlex

__all__ = [
    "FlexCallEvent",
    "FlexCostCallback",
    "FlexCostEventHandler",
    "FlexFallbackEvent",
    "FlexRetryEvent",
    "OpenAIFlex",
    "OpenAIResponsesFlex",
]
