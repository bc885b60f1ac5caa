"""What tens of thousands of LangChain calls through the batch lane take, in one process.

All are waiting at once. Printed: the process's peak memory, what one call costs in memory and CPU,
and how long the calls take from the first to the last, next to as many plain `ChatOpenAI` calls,
500 at once, to the same simulator. Every line of the files that were uploaded is checked against
the SDK's own type of the endpoint's parameters.

    python benchmarks/batch_lane.py [--calls 50000] [--responses]

Linux only: memory is read from /proc. The simulator runs in a process of its own, without latency.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import openai
from _provider import simulator
from langchain_openai import ChatOpenAI
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from pydantic import ConfigDict, TypeAdapter, with_config

from flextier.langchain import ChatOpenAIFlex

AT_ONCE = 500
_TYPES = {
    "/v1/chat/completions": CompletionCreateParamsNonStreaming,
    "/v1/responses": ResponseCreateParamsNonStreaming,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run both, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--calls", type=int, default=50_000, help="how many (default: 50,000)")
    parser.add_argument("--responses", action="store_true", help="through the Responses API")
    options = parser.parse_args(arguments)
    with simulator() as base_url:
        settings = _settings(base_url, options.responses)
        before = _memory("VmRSS")
        seconds, cpu = asyncio.run(_batch(settings, options.calls))
        peak = _memory("VmHWM")
        print(f"{options.calls:,} calls through the batch lane: {seconds:.1f} s, ", end="")
        print(f"{cpu / options.calls * 1e3:.2f} ms of CPU each")
        print(f"peak memory {peak / 1024:.0f} MB, ", end="")
        each = (peak - before) / options.calls
        print(f"{each:.1f} KB a call above the start's {before / 1024:.0f} MB")
        checked = _check(base_url)
        print(f"{checked:,} lines of JSONL valid against the SDK's types")
        few = min(options.calls, 5_000)
        plain = asyncio.run(_plain(settings, few)) / few
        print(f"plain ChatOpenAI, {AT_ONCE} at once: {plain * 1e3:.2f} ms a call, ", end="")
        batched = seconds / options.calls
        print(f"batch lane {batched * 1e3:.2f} ms: {batched / plain:.2f}")


def peak_megabytes(calls: int) -> float:
    """Megabytes of memory that this process takes at most for so many calls."""
    with simulator() as base_url:
        asyncio.run(_batch(_settings(base_url, responses=False), calls))
    return _memory("VmHWM") * 1024 / 1e6


def _settings(base_url: str, responses: bool) -> dict[str, Any]:
    return {
        "model": "gpt-5-mini",
        "base_url": base_url,
        "api_key": "sk-not-a-key",
        "use_responses_api": responses,
    }


async def _batch(settings: dict[str, Any], calls: int) -> tuple[float, float]:
    policy = {"lanes": ("batch", "standard"), "batch_window": 2.0, "batch_poll_interval": 1.0}
    llm = ChatOpenAIFlex(**settings, policy=policy)
    began, cpu = time.perf_counter(), _cpu()
    done = 0

    async def ask(number: int) -> None:
        nonlocal done
        answer = await llm.ainvoke(f"What is {number} in words?")
        assert answer.response_metadata["flextier"]["lane"] == "batch"
        assert f"What is {number} in words?" in answer.text
        done += 1

    tasks = [asyncio.create_task(ask(number)) for number in range(calls)]
    for task in tasks:
        await task
    assert done == calls
    return time.perf_counter() - began, _cpu() - cpu


async def _plain(settings: dict[str, Any], calls: int) -> float:
    llm = ChatOpenAI(**settings)
    room = asyncio.Semaphore(AT_ONCE)
    began = time.perf_counter()

    async def ask(number: int) -> None:
        async with room:
            await llm.ainvoke(f"What is {number} in words?")

    await asyncio.gather(*(ask(number) for number in range(calls)))
    return time.perf_counter() - began


def _check(base_url: str) -> int:
    """Read back what was uploaded; every line has to be one that the endpoint could take."""
    client = openai.OpenAI(base_url=base_url, api_key="sk-not-a-key")
    seen: set[str] = set()
    types = {url: TypeAdapter(_closed(kind)) for url, kind in _TYPES.items()}
    for batch in client.batches.list(limit=100):
        for text in client.files.content(batch.input_file_id).text.splitlines():
            line = json.loads(text)
            assert line.keys() == {"custom_id", "method", "url", "body"}, line
            assert (line["method"], line["url"]) == ("POST", batch.endpoint), line
            assert line["custom_id"] not in seen, line
            seen.add(line["custom_id"])
            types[line["url"]].validate_python(line["body"])
    return len(seen)


def _closed(kind: Any) -> Any:
    """The SDK's type, without room for fields that it does not know."""
    return with_config(ConfigDict(extra="forbid"))(kind)


def _memory(what: str) -> int:
    """KB of this process's memory, by /proc's name for it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(what))


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
