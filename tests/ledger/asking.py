"""Calls of a simulator, as programs of their own make them, in threads and processes."""

from __future__ import annotations

import os
from typing import Any

from flextier import FlexOpenAI
from tests.client.callers import FAST, KEY, MESSAGES


def ask(base_url: str) -> str:
    """Make a call; the id of the process."""
    with FlexOpenAI(base_url=base_url, api_key=KEY, policy=FAST) as client:
        client.chat.completions.create(model="o3", messages=MESSAGES)
    return str(os.getpid())


def ask_langchain(base_url: str, *callbacks: Any) -> None:
    """Make a call through LangChain, with these callback handlers."""
    from flextier.langchain import ChatOpenAIFlex

    model = ChatOpenAIFlex(model="o3", base_url=base_url, api_key=KEY, policy=FAST)
    model.invoke("Name a colour.", {"callbacks": list(callbacks), "tags": ["nightly"]})
