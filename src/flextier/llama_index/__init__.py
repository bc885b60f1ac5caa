"""LlamaIndex on cheap lanes: ``OpenAIFlex`` and ``OpenAIResponsesFlex``."""

from flextier.llama_index.chat import OpenAIFlex
from flextier.llama_index.events import FlexFallbackEvent, FlexRetryEvent
from flextier.llama_index.responses import OpenAIResponsesFlex

__all__ = ["FlexFallbackEvent", "FlexRetryEvent", "OpenAIFlex", "OpenAIResponsesFlex"]
