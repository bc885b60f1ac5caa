"""LangChain on cheap lanes: ``ChatOpenAIFlex`` in place of ``ChatOpenAI``."""

from flextier.langchain.chat_model import ChatOpenAIFlex
from flextier.langchain.errors import ModelDeadlineExceeded

__all__ = ["ChatOpenAIFlex", "ModelDeadlineExceeded"]
