"""LangChain on cheap lanes: ``ChatOpenAIFlex`` in place of ``ChatOpenAI``, and what calls cost."""

from flextier.langchain.chat_model import ChatOpenAIFlex
from flextier.langchain.cost_handler import FlexCostCallbackHandler, get_flex_cost_callback
from flextier.langchain.errors import ModelDeadlineExceeded

__all__ = [
    "ChatOpenAIFlex",
    "FlexCostCallbackHandler",
    "ModelDeadlineExceeded",
    "get_flex_cost_callback",
]
