"""What people write to have many rows answered, one program a tool; run by ``bulk_tools.py``.

Each reads ``in.jsonl``, asks the same question of the same model, and writes a JSON line for every
row that got a response. Refused rows are left to the tool, as it comes.

    python _bulk_programs.py PROGRAM ROWS_AT_ONCE
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

MODEL = "o4-mini"

Answers = list[str | None]
"""The text of each row's response; None: it has none."""


def main() -> None:
    """Ask, write the output, and print how long it took, without imports."""
    program, at_once = sys.argv[1], int(sys.argv[2])
    lines = Path("in.jsonl").read_text().splitlines()
    prompts = [json.loads(line)["prompt"] for line in lines]
    answers, seconds = PROGRAMS[program](prompts, at_once)
    with Path("out.jsonl").open("w") as file:
        for line, answer in zip(lines, answers, strict=True):
            if answer is not None:
                file.write(json.dumps({**json.loads(line), "output": answer}) + "\n")
    print(json.dumps({"elapsed": seconds}))


def bare_loop(prompts: list[str], at_once: int) -> tuple[Answers, float]:
    """A semaphore around ``AsyncOpenAI``, whose errors leave the row out."""
    import openai

    client = openai.AsyncOpenAI(http_client=openai.DefaultAioHttpClient())
    return _with_semaphore(client, prompts, at_once, service_tier="flex")


def autobatcher(prompts: list[str], at_once: int) -> tuple[Answers, float]:
    """All rows at once, by the Batch API: its default is for another vendor."""
    from autobatcher import AsyncOpenAI

    # Both given: its own HTTP client, which fetches the output, does not read the variables.
    account = {name: os.environ[f"OPENAI_{name.upper()}"] for name in ("base_url", "api_key")}
    client = AsyncOpenAI(**account, completion_window="24h")
    return _with_semaphore(client, prompts, len(prompts))


def _with_semaphore(
    client: Any, prompts: list[str], at_once: int, **extra: Any
) -> tuple[Answers, float]:
    async def every() -> Answers:
        room = asyncio.Semaphore(at_once)

        async def one(prompt: str) -> str | None:
            async with room:
                try:
                    answer = await client.chat.completions.create(
                        model=MODEL, messages=[{"role": "user", "content": prompt}], **extra
                    )
                except Exception as error:  # noqa: BLE001 - the row is lost
                    print(type(error).__name__, error, file=sys.stderr)
                    return None
                text: str | None = answer.choices[0].message.content
                return text

        return await asyncio.gather(*map(one, prompts))

    began = time.perf_counter()
    return asyncio.run(every()), time.perf_counter() - began


def langchain(prompts: list[str], at_once: int) -> tuple[Answers, float]:
    """``ChatOpenAI.abatch`` on flex."""
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model=MODEL, service_tier="flex")
    began = time.perf_counter()
    config: Any = {"max_concurrency": at_once}
    inputs: list[Any] = list(prompts)
    answers: Any = asyncio.run(model.abatch(inputs, config, return_exceptions=True))
    seconds = time.perf_counter() - began
    return [None if isinstance(one, Exception) else one.content for one in answers], seconds


def litellm(prompts: list[str], at_once: int) -> tuple[Answers, float]:
    """``litellm.batch_completion`` on flex."""
    import litellm as lite

    messages = [[{"role": "user", "content": prompt}] for prompt in prompts]
    began = time.perf_counter()
    answers = lite.batch_completion(MODEL, messages, max_workers=at_once, service_tier="flex")
    seconds = time.perf_counter() - began
    failed = [isinstance(one, Exception) for one in answers]
    texts = zip(answers, failed, strict=True)
    return [None if bad else one.choices[0].message.content for one, bad in texts], seconds


PROGRAMS = {
    "AsyncOpenAI loop": bare_loop,
    "LangChain abatch": langchain,
    "LiteLLM batch_completion": litellm,
    "autobatcher": autobatcher,
}

if __name__ == "__main__":
    main()
