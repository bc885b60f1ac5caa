"""CPU time of a call with a cost handler attached, by that of the same call without one.

A call is one plain chat completion of ``ChatOpenAIFlex``, answered at the first try, from memory:
``invoke(question, {"callbacks": [FlexCostCallbackHandler()]})`` against ``invoke(question)``, sync
and async, the same inside ``get_flex_cost_callback()``, and as a measure what a handler that does
nothing adds, and LangChain's own ``UsageMetadataCallbackHandler``. What counts is the time added,
the ratio only shows how little else such a call does. A handler that does nothing takes LangChain's
own time for any handler: what ours adds to that one's is to stay below 60 microseconds a call.

    python benchmarks/handler_overhead.py
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import openai
from _measure import Result, Work, async_calls, calls, cpu_pairs, event_loop, summary
from _provider import NO_SOCKET, mock_transport
from langchain_core.callbacks import BaseCallbackHandler, UsageMetadataCallbackHandler
from langchain_core.runnables import RunnableConfig

from flextier.langchain import ChatOpenAIFlex, FlexCostCallbackHandler, get_flex_cost_callback

OURS = "cost handler, to one that does nothing"
TARGETS = dict.fromkeys((f"{OURS}, invoke", f"{OURS}, ainvoke"), 60.0)
"""Microseconds that a call may take more."""
ROUNDS = 120
CALLS = 20

_QUESTION = "Why is the sky blue?"


def measure(rounds: int = ROUNDS) -> list[Result]:
    """The handler, sync, async and of a block, and LangChain's own."""
    transport = mock_transport()
    model = ChatOpenAIFlex(
        model="o3",
        api_key="benchmark",
        base_url=NO_SOCKET,
        http_client=openai.DefaultHttpxClient(transport=transport),
        http_async_client=openai.DefaultAsyncHttpxClient(transport=transport),
    )
    with event_loop() as loop:
        return [
            summary(name, cpu_pairs(ours, plain, rounds=rounds, units=CALLS), "call")
            for name, ours, plain in _pairs(loop, model)
        ]


def _pairs(
    loop: asyncio.AbstractEventLoop, model: ChatOpenAIFlex
) -> Iterator[tuple[str, Work, Work]]:
    """Name, the work with a handler, that without."""
    ours, empty = _with(FlexCostCallbackHandler()), _with(_Empty())

    def invoke(config: RunnableConfig | None = None) -> Work:
        return calls(lambda: model.invoke(_QUESTION, config))

    def ainvoke(config: RunnableConfig | None = None) -> Work:
        return async_calls(loop, lambda: model.ainvoke(_QUESTION, config))

    alone = invoke()
    for name, work in (("invoke", invoke), ("ainvoke", ainvoke)):
        yield f"{OURS}, {name}", work(ours), work(empty)
        yield f"handler that does nothing, {name}", work(empty), work()
        yield f"cost handler, {name}", work(ours), work()
    yield "get_flex_cost_callback", _in_block(model), alone
    yield "LangChain's usage handler", invoke(_with(UsageMetadataCallbackHandler())), alone


class _Empty(BaseCallbackHandler):
    """Takes part in every call, and does nothing; on the event loop, as ours."""

    run_inline = True

    def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing; without it, LangChain calls it as the start of a completion."""


def _with(handler: BaseCallbackHandler) -> RunnableConfig:
    return {"callbacks": [handler]}


def _in_block(model: ChatOpenAIFlex) -> Work:
    ask: Any = calls(lambda: model.invoke(_QUESTION))

    def work(count: int) -> None:
        with get_flex_cost_callback():
            ask(count)

    return work


def main() -> None:
    """Print one line a pair."""
    for result in measure():
        print(result)


if __name__ == "__main__":
    main()
