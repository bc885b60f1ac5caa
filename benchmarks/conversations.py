"""CPU time of a call by the length of its conversation, by that of the same call without flextier.

Calls have 1 message, or 3, 15 and 60 messages with 6 tools, as an agent's later steps have; each is
answered at the first try, over a real socket to the simulator in a process of its own. The SDK's
part of a call grows with its body, so this shows what the lean path leaves out.

    python benchmarks/conversations.py [--rounds N] [--plot FILE.svg]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import openai
from _measure import Result, Work, calls, cpu_pairs, summary
from _provider import simulator
from langchain_openai import ChatOpenAI

from flextier import FlexOpenAI
from flextier.langchain import ChatOpenAIFlex

SIZES = ((1, 0), (3, 6), (15, 6), (60, 6))
"""Messages and tools."""
ROUNDS = 40
CALLS = 5
TARGETS = {
    "ChatOpenAIFlex.invoke": (0.75, None, 0.30, 0.20),
    "OpenAIFlex.chat": (0.75, None, 0.32, 0.20),
    "FlexOpenAI create": (0.72, None, 0.25, 0.12),
    "FlexOpenAI stream": (0.72, None, 0.25, 0.12),
}
"""Goals by the size; None: there is none."""

Pair = tuple[str, Work, Work]


def measure(rounds: int = ROUNDS) -> list[Result]:
    """Every class, with every size."""
    with simulator() as base_url:
        return [
            summary(
                f"{name}, {messages} messages, {tools} tools" if tools else f"{name}, 1 message",
                cpu_pairs(ours, plain, rounds=rounds, units=CALLS),
                "call",
                TARGETS[name][place],
            )
            for place, (messages, tools) in enumerate(SIZES)
            for name, ours, plain in _pairs(base_url, messages, tools)
        ]


def _pairs(base_url: str, messages: int, tools: int) -> Iterator[Pair]:
    """Name, flextier's work, the plain one's."""
    account: dict[str, Any] = {"api_key": "benchmark", "base_url": base_url}
    talk = [
        {
            "role": "assistant" if number % 2 else "user",
            "content": f"{number}: why is the sky blue?",
        }
        for number in range(messages)
    ]
    given = {"tools": [_tool(number) for number in range(tools)]} if tools else {}
    flex = ChatOpenAIFlex(model="o3", **account).bind(**given)
    plain = ChatOpenAI(model="o3", service_tier="flex", **account).bind(**given)
    yield "ChatOpenAIFlex.invoke", *(calls(lambda m=m: m.invoke(talk)) for m in (flex, plain))
    if find_spec("llama_index") is not None:
        yield "OpenAIFlex.chat", *_llama_index(base_url, talk, given)
    ask: dict[str, Any] = {"model": "o3", "messages": talk, "service_tier": "flex", **given}
    clients = FlexOpenAI(**account), openai.OpenAI(**account)
    yield "FlexOpenAI create", *(calls(lambda c=c: _create(c, ask)) for c in clients)
    yield "FlexOpenAI stream", *(calls(lambda c=c: _stream(c, ask)) for c in clients)


def _create(client: Any, ask: dict[str, Any]) -> None:
    client.chat.completions.create(**ask)


def _stream(client: Any, ask: dict[str, Any]) -> None:
    for _ in client.chat.completions.create(**ask, stream=True):
        pass


def _llama_index(base_url: str, talk: list[dict[str, Any]], given: dict[str, Any]) -> list[Work]:
    from llama_index.core.llms import ChatMessage
    from llama_index.llms.openai import OpenAI

    from flextier.llama_index import OpenAIFlex

    account = {"model": "o3", "api_key": "benchmark", "api_base": base_url}
    messages = [ChatMessage(**one) for one in talk]
    llms = OpenAIFlex(**account), OpenAI(**account, additional_kwargs={"service_tier": "flex"})
    return [calls(lambda llm=llm: llm.chat(messages, **given)) for llm in llms]


def _tool(number: int) -> dict[str, Any]:
    properties = {
        "place": {"type": "string", "description": "The name of a place, such as Paris"},
        "day": {"type": "integer", "description": "Days from today"},
        "units": {"type": "string", "enum": ["metric", "imperial"]},
    }
    schema = {"type": "object", "properties": properties, "required": ["place"]}
    function = {"name": f"tool_{number}", "description": "The weather.", "parameters": schema}
    return {"type": "function", "function": function}


def curves(results: Sequence[Result]) -> dict[str, list[tuple[int, float]]]:
    """Each class's ratio by the number of messages."""
    found: dict[str, list[tuple[int, float]]] = {}
    for result in results:
        name, size, *_ = result.name.split(", ")
        found.setdefault(name, []).append((int(size.split()[0]), result.ratio))
    return found


def main() -> None:
    """Print one line a pair; draw the curves if asked to."""
    parser = argparse.ArgumentParser(description="CPU of a call by its conversation's length.")
    parser.add_argument("--rounds", type=int, metavar="N", default=ROUNDS)
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw them")
    options = parser.parse_args()
    results = measure(options.rounds)
    for result in results:
        print(result)
    if options.plot is not None:
        import _pictures  # altair takes a second to load

        about = "CPU of a call over the plain class: less the more messages it has."
        title = "CPU by conversation length"
        _pictures.save(_pictures.conversations(curves(results)), options.plot, title, about)


if __name__ == "__main__":
    main()
