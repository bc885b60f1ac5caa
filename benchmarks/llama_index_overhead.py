"""CPU time of a call through flextier's LlamaIndex LLMs, by that of LlamaIndex's own on flex.

A call is one plain ``chat``, answered at the first try, one call after another: ``OpenAIFlex()``
against ``OpenAI(additional_kwargs={"service_tier": "flex"})``, and the same for the Responses
classes, each sync and async. Over a real socket to the simulator in a process of its own.

    python benchmarks/llama_index_overhead.py
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from _measure import Result, Work, async_calls, calls, cpu_pairs, event_loop, summary
from _provider import simulator
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai import OpenAI, OpenAIResponses

from flextier.llama_index import OpenAIFlex, OpenAIResponsesFlex

TARGET = 0.75
ROUNDS = 80
CALLS = 10

_MESSAGES = [ChatMessage(role="user", content="Why is the sky blue?")]
_FLEX = {"service_tier": "flex"}


def measure(rounds: int = ROUNDS) -> list[Result]:
    """Both classes, sync and async."""
    with event_loop() as loop, simulator() as base_url:
        account = {"model": "o3", "api_key": "benchmark", "api_base": base_url}
        return [
            summary(name, cpu_pairs(ours, plain, rounds=rounds, units=CALLS), "call", TARGET)
            for name, ours, plain in _pairs(loop, account)
        ]


def _pairs(
    loop: asyncio.AbstractEventLoop, account: dict[str, Any]
) -> Iterator[tuple[str, Work, Work]]:
    """Name, flextier's work, LlamaIndex's own."""
    classes: tuple[tuple[Any, Any], ...] = (
        (OpenAIFlex, OpenAI),
        (OpenAIResponsesFlex, OpenAIResponses),
    )
    for flex_class, plain_class in classes:
        flex = flex_class(**account)
        plain = plain_class(**account, additional_kwargs=_FLEX)
        yield f"{flex_class.__name__}.chat", *map(_chat, (flex, plain))
        yield f"{flex_class.__name__}.achat", *(_achat(loop, llm) for llm in (flex, plain))


def _chat(llm: Any) -> Work:
    return calls(lambda: llm.chat(_MESSAGES))


def _achat(loop: asyncio.AbstractEventLoop, llm: Any) -> Work:
    return async_calls(loop, lambda: llm.achat(_MESSAGES))


def main() -> None:
    """Print one line a pair."""
    for result in measure():
        print(result)


if __name__ == "__main__":
    main()
