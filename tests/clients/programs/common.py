"""What the programs share: the questions, and the report of what came back.

A program runs in its tool's own environment, against a simulator that `OPENAI_BASE_URL` names.
"""

from __future__ import annotations

import asyncio
import json
import os
import traceback
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

MODEL = "gpt-5-mini"
EMBEDDING_MODEL = "text-embedding-3-small"
ROUNDS = 4

Part = Callable[[int], None] | Callable[[int], Coroutine[Any, Any, None]]


def question(n: int) -> str:
    """A question that no other number gives; the simulator's answer repeats it."""
    return f"Which colour has marble number {n + 71}?"


def person(n: int) -> tuple[str, str, int]:
    """A request for a person's data, their name and their age, as a schema is filled from it."""
    name, age = ("Ada", "Bob", "Cleo", "Dana")[n % 4], 31 + n
    return f"Extract the person: '{name}' is {age} years old.", name, age


def run(
    *parts: Part,
    tokens: Callable[[], tuple[int, int]] | None = None,
    cost: Callable[[], float] | None = None,
) -> None:
    """Run each part for each round, a round's parts at once, and report to the runner.

    Args:
        *parts: each asks its tool something and asserts what comes back.
        tokens: the input and output tokens that the tool itself has counted.
        cost: the US$ that the tool itself has counted.
    """
    from flextier.costs import record_calls

    with record_calls(scope="process") as totals:
        jobs = [(part, n) for n in range(ROUNDS) for part in parts]
        if asyncio.iscoroutinefunction(parts[0]):
            problems = asyncio.run(_together(jobs))
        else:
            with ThreadPoolExecutor(len(parts) * 2) as pool:
                problems = list(pool.map(_problem, jobs))
    report = {
        "asked": len(jobs),
        "problems": list(filter(None, problems)),
        "totals": totals.to_dict(),
        "tokens": tokens and tokens(),
        "cost": cost and float(cost()),
    }
    with open(os.environ["TOOL_REPORT"], "w") as file:
        json.dump(report, file, indent=1)


def _problem(job: tuple[Part, int]) -> str | None:
    part, n = job
    try:
        part(n)
    except Exception as error:  # noqa: BLE001  # the report has it
        return _described(part, error)
    return None


async def _together(jobs: list[tuple[Part, int]]) -> list[str | None]:
    async def one(part: Part, n: int) -> str | None:
        try:
            await part(n)
        except Exception as error:  # noqa: BLE001  # the report has it
            return _described(part, error)
        return None

    return await asyncio.gather(*(one(part, n) for part, n in jobs))


def _described(part: Part, error: Exception) -> str:
    traceback.print_exception(error)
    return f"{part.__name__}: {type(error).__name__}: {error}"[:300]
