"""A pytest plugin that puts our class in the place of LangChain's, before tests import it."""

import langchain_openai
import langchain_openai.chat_models
import langchain_openai.chat_models.base

from flextier.langchain import ChatOpenAIFlex

for module in (langchain_openai, langchain_openai.chat_models, langchain_openai.chat_models.base):
    module.ChatOpenAI = ChatOpenAIFlex  # type: ignore[attr-defined,misc]
