"""LlamaIndex on cheap lanes: ``OpenAIFlex`` and ``OpenAIResponsesFlex``."""

from flextier.llama_index.callbacks import FlexCostCallback
from flextier.llama_index.chat import OpenAIFlex
from flextier.llama_index.costs import FlexCostEventHandler
from flextier.llama_index.events import FlexCallEvent, FlexFallbackEvent, FlexRetryEvent
from flextier.llama_index.responses import OpenAIResponsesFlex

__all__ = [
    "FlexCallEvent",
    "FlexCostCallback",
    "FlexCostEventHandler",
    "FlexFallbackEvent",
    "FlexRetryEvent",
    "OpenAIFlex",
    "OpenAIResponsesFlex",
]
