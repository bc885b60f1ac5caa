"""CPU time of a streamed event through flextier, by that of the same event without it.

A stream is one chat completion of 200 events, read to its end; its CPU time, the opening
included, is divided by the events: ``FlexOpenAI()`` against ``OpenAI()`` with
``service_tier="flex"`` in the call, sync and async.

The events come from memory, each as a chunk of its own, as they would from a model that makes
one token after another. Over a local socket a read returns as many as have arrived by then, so
the work would differ from run to run.

    python benchmarks/stream_overhead.py
"""

from __future__ import annotations

import asyncio
from typing import Any

import openai
from _measure import Result, Work, cpu_pairs, event_loop, summary
from _provider import EVENTS, NO_SOCKET, mock_transport

from flextier import AsyncFlexOpenAI, FlexOpenAI

ROUNDS = 60

_ASK: dict[str, Any] = {
    "model": "o3",
    "messages": [{"role": "user", "content": "Why is the sky blue?"}],
    "stream": True,
}
_CLIENT: dict[str, Any] = {"api_key": "benchmark", "base_url": NO_SOCKET}


def measure(rounds: int = ROUNDS) -> list[Result]:
    """The sync pair and the async pair."""
    with event_loop() as loop:
        return [_sync(rounds), _async(loop, rounds)]


def _sync(rounds: int) -> Result:
    http = openai.DefaultHttpxClient(transport=mock_transport())
    flex = FlexOpenAI(**_CLIENT, http_client=http).chat.completions
    plain = openai.OpenAI(**_CLIENT, http_client=http).chat.completions

    def read(completions: Any, **extra: Any) -> Work:
        def work(events: int) -> None:
            for _ in range(events // EVENTS):
                _check(sum(1 for _ in completions.create(**_ASK, **extra)))

        return work

    pairs = cpu_pairs(read(flex), read(plain, service_tier="flex"), rounds=rounds, units=EVENTS)
    return summary("FlexOpenAI stream", pairs, "event")


def _async(loop: asyncio.AbstractEventLoop, rounds: int) -> Result:
    http = openai.DefaultAsyncHttpxClient(transport=mock_transport())
    flex = AsyncFlexOpenAI(**_CLIENT, http_client=http).chat.completions
    plain = openai.AsyncOpenAI(**_CLIENT, http_client=http).chat.completions

    def read(completions: Any, **extra: Any) -> Work:
        async def streams(events: int) -> None:
            for _ in range(events // EVENTS):
                seen = 0
                async for _ in await completions.create(**_ASK, **extra):
                    seen += 1
                _check(seen)

        return lambda events: loop.run_until_complete(streams(events))

    pairs = cpu_pairs(read(flex), read(plain, service_tier="flex"), rounds=rounds, units=EVENTS)
    return summary("AsyncFlexOpenAI stream", pairs, "event")


def _check(seen: int) -> None:
    if seen != EVENTS:
        raise AssertionError(f"{seen} events of {EVENTS} arrived: this is not the same work")


def main() -> None:
    """Print one line a pair."""
    for result in measure():
        print(result)


if __name__ == "__main__":
    main()
