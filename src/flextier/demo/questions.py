"""Many questions, so many at a time, and what became of each."""

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
class Row:
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
    asks: Mapping[str, Ask], concurrency: int, done: Callable[[Row], None]
) -> list[Row]:
    """Ask them all, so many at a time; ``done`` hears of each."""
    gate = asyncio.Semaphore(concurrency)

    async def one(name: str) -> Row:
        async with gate:
            row = await _row(name, asks[name])
        done(row)
        return row

    return await asyncio.gather(*map(one, asks))


async def _row(name: str, ask: Ask) -> Row:
    with track() as calls:
        try:
            answer = await ask()
        except (openai.OpenAIError, ValueError) as error:
            return Row(name, None, tuple(calls), error)
    return Row(name, answer, tuple(calls))
