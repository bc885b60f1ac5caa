"""CPU time of a call through flextier, by that of the same call on flex without it.

A call is one plain chat completion, answered at the first try, one call after another:
``ChatOpenAIFlex()`` against ``ChatOpenAI(service_tier="flex")``, and ``FlexOpenAI()`` against
``OpenAI()`` with ``service_tier="flex"`` in the call, each sync and async.

The calls go over a real socket to the simulator in a process of its own, through every client's
own default HTTP client: that is what users run, and flextier's HTTP clients do a little work on
each read and write that a mock would hide. The rows that say "no socket" are the same calls
answered from memory. There is less of everything else in them, so what flextier adds shows as a
larger ratio; they are no steadier than those over the socket, which have the target.

    python benchmarks/call_overhead.py
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import openai
from _measure import Result, Work, async_calls, calls, cpu_pairs, event_loop, summary
from _provider import NO_SOCKET, mock_transport, simulator
from langchain_openai import ChatOpenAI

from flextier import AsyncFlexOpenAI, FlexOpenAI
from flextier.langchain import ChatOpenAIFlex

TARGET = 0.75
ROUNDS = 80
CALLS = 10

_QUESTION = "Why is the sky blue?"
_ASK: dict[str, Any] = {"model": "o3", "messages": [{"role": "user", "content": _QUESTION}]}

Pair = tuple[str, Work, Work]


def measure(rounds: int = ROUNDS) -> list[Result]:
    """All pairs over a socket, of which LangChain's have a target; then all without."""
    with event_loop() as loop:
        with simulator() as base_url:
            pairs = _pairs(loop, {"base_url": base_url})
            measured = [_measured(pair, rounds, pair[0] in _TARGETS) for pair in pairs]
        pairs = _pairs(loop, {"base_url": NO_SOCKET}, mock_transport())
        without = [_measured((f"{pair[0]}, no socket", *pair[1:]), rounds) for pair in pairs]
    return [*measured, *without]


def _measured(pair: Pair, rounds: int, judged: bool = False) -> Result:
    name, ours, plain = pair
    pairs = cpu_pairs(ours, plain, rounds=rounds, units=CALLS)
    return summary(name, pairs, "call", TARGET if judged else None)


_TARGETS = frozenset({"ChatOpenAIFlex.invoke", "ChatOpenAIFlex.ainvoke"})


def _pairs(
    loop: asyncio.AbstractEventLoop, server: dict[str, Any], transport: Any = None
) -> Iterator[Pair]:
    """Name, flextier's work, the plain one's; the clients live as long as they are measured."""
    account = {"api_key": "benchmark", **server}
    yield from _langchain_pairs(loop, account, transport)
    yield from _sdk_pairs(loop, account, transport)


def _langchain_pairs(
    loop: asyncio.AbstractEventLoop, account: dict[str, Any], transport: Any
) -> Iterator[Pair]:
    http: dict[str, Any] = {}
    if transport is not None:
        http["http_client"] = openai.DefaultHttpxClient(transport=transport)
        http["http_async_client"] = openai.DefaultAsyncHttpxClient(transport=transport)
    flex = ChatOpenAIFlex(model="o3", **account, **http)
    plain = ChatOpenAI(model="o3", service_tier="flex", **account, **http)
    yield (
        "ChatOpenAIFlex.invoke",
        calls(lambda: flex.invoke(_QUESTION)),
        calls(lambda: plain.invoke(_QUESTION)),
    )
    yield (
        "ChatOpenAIFlex.ainvoke",
        async_calls(loop, lambda: flex.ainvoke(_QUESTION)),
        async_calls(loop, lambda: plain.ainvoke(_QUESTION)),
    )


def _sdk_pairs(
    loop: asyncio.AbstractEventLoop, account: dict[str, Any], transport: Any
) -> Iterator[Pair]:
    sync: dict[str, Any] = {}
    transport_arguments: dict[str, Any] = {}
    if transport is not None:
        sync["http_client"] = openai.DefaultHttpxClient(transport=transport)
        transport_arguments["http_client"] = openai.DefaultAsyncHttpxClient(transport=transport)
    flex = FlexOpenAI(**account, **sync).chat.completions
    plain = openai.OpenAI(**account, **sync).chat.completions
    yield (
        "FlexOpenAI create",
        calls(lambda: flex.create(**_ASK)),
        calls(lambda: plain.create(**_ASK, service_tier="flex")),
    )
    aflex = AsyncFlexOpenAI(**account, **transport_arguments).chat.completions
    aplain = openai.AsyncOpenAI(**account, **transport_arguments).chat.completions
    yield (
        "AsyncFlexOpenAI create",
        async_calls(loop, lambda: aflex.create(**_ASK)),
        async_calls(loop, lambda: aplain.create(**_ASK, service_tier="flex")),
    )


def main() -> None:
    """Print one line a pair."""
    for result in measure():
        print(result)


if __name__ == "__main__":
    main()
