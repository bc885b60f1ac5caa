"""OpenAI SDK clients whose calls are routed through the lanes."""

from flextier.client.clients import AsyncFlexOpenAI, FlexOpenAI

__all__ = ["AsyncFlexOpenAI", "FlexOpenAI"]
