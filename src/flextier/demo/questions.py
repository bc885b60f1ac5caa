"""Many questions, a bounded number at a time, and the outcome of each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import openai

from flextier.calls.context import track
from flextier.calls.report import CallReport

Ask = Callable[[], Awaitable[str]]
"""Asks one question, of whatever framework, and gives the answer."""


@dataclass(frozen=True)
class Question:
    """What became of one question."""

    name: str
    answer: str | None
    """None: it was lost."""
    reports: tuple[CallReport, ...]
    """Every call that it took."""
    error: Exception | None = None

    @property
    def is_lost(self) -> bool:
        """Whether no answer came."""
        return self.answer is None


async def ask_all(
    asks: Mapping[str, Ask], concurrency: int, done: Callable[[Question], None]
) -> list[Question]:
    """Ask them all, ``concurrency`` at a time; ``done`` is called with each."""
    slots = asyncio.Semaphore(concurrency)

    async def one(name: str) -> Question:
        async with slots:
            row = await _row(name, asks[name])
        done(row)
        return row

    return await asyncio.gather(*map(one, asks))


async def _row(name: str, ask: Ask) -> Question:
    with track() as calls:
        try:
            answer = await ask()
        except (openai.OpenAIError, ValueError) as error:
            return Question(name, None, tuple(calls), error)
    return Question(name, answer, tuple(calls))
