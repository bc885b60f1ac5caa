"""The questions on Python's help topics, a bounded number at a time, and their outcomes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pydoc_data import topics as pydoc_topics

import openai

from flextier.calls.context import track
from flextier.calls.report import CallReport

Ask = Callable[[], Awaitable[str]]
"""Asks one question, of whatever framework, and gives the answer."""


@dataclass(frozen=True)
class Question:
    """One question, and its outcome."""

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


LONGEST = 6_000
"""Characters of a topic that are sent."""


def topics(count: int | None = None) -> dict[str, str]:
    """The help topics that come with this Python, without their headings."""
    texts: dict[str, str] = pydoc_topics.topics
    chosen = sorted(texts)[:count]
    return {name: re.sub(r"\A.*\n\*+\n+", "", texts[name])[:LONGEST] for name in chosen}
