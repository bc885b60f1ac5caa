"""Questions on Python's help topics, asked concurrently, and their results."""

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
"""Asks one question through a framework, and returns the answer."""


@dataclass(frozen=True)
class Question:
    """One question and its result."""

    name: str
    answer: str | None
    """None: it failed."""
    reports: tuple[CallReport, ...]
    """Reports of its calls."""
    error: Exception | None = None

    @property
    def is_lost(self) -> bool:
        """Whether it has no answer."""
        return self.answer is None

    @property
    def fell_back(self) -> bool:
        """Whether a call of it was not billed on its first lane."""
        return any(report.fallback for report in self.reports)


async def ask_all(
    asks: Mapping[str, Ask], concurrency: int, done: Callable[[Question], None]
) -> list[Question]:
    """Ask all questions, ``concurrency`` at a time; ``done`` is called with each result."""
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


MAX_LENGTH = 6_000
"""Maximum number of characters of a topic that are sent."""


def topics(count: int | None = None) -> dict[str, str]:
    """The help topics that come with this Python, without their headings."""
    texts: dict[str, str] = pydoc_topics.topics
    chosen = sorted(texts)[:count]
    return {name: re.sub(r"\A.*\n\*+\n+", "", texts[name])[:MAX_LENGTH] for name in chosen}
