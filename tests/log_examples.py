"""The log in docs/logging.md: calls through an outage, in virtual time.

``python -m tests.log_examples`` writes the page's blocks, and a test fails where they differ.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from flextier import AsyncFlexOpenAI
from flextier._utils.clock import Clock
from flextier.calls.gathered_lines import LINES, LOG
from flextier.rehearsal.provider import BASE_URL, TraceProvider
from flextier.rehearsal.virtual_loop import run_virtually
from flextier.sim.behavior.weather import Weather

PAGE = Path(__file__).parents[1] / "docs" / "logging.md"
NOON = 1_790_078_400.0
"""When the examples begin: seconds since 1970."""
CALL: Any = {"model": "o4-mini", "messages": [{"role": "user", "content": "Name a colour."}]}

_accounts = count(1)


class Lines(logging.Handler):
    """Collects the lines of the log, each with its moment on a clock."""

    def __init__(self, wall: Callable[[], float]) -> None:
        super().__init__()
        self.wall = wall
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        at = time.strftime("%H:%M:%S", time.gmtime(self.wall()))
        self.lines.append(f"[{at} - {record.name} - {record.levelname}] {record.getMessage()}")


@contextmanager
def logged(wall: Callable[[], float], level: int = logging.INFO) -> Iterator[list[str]]:
    """The lines that are written inside."""
    handler, before = Lines(wall), (LOG.level, LOG.propagate)
    LINES.reset()
    LOG.addHandler(handler)
    LOG.setLevel(level)
    LOG.propagate = False
    try:
        yield handler.lines
    finally:
        LOG.removeHandler(handler)
        LOG.setLevel(before[0])
        LOG.propagate = before[1]


def lines_of(
    calls: int,
    weather: Weather,
    *,
    level: int = logging.INFO,
    one_by_one: bool = False,
    base_url: str = BASE_URL,
    **policy: Any,
) -> list[str]:
    """The log of that many calls, made at once in virtual time, or each after the one before."""

    async def main() -> list[str]:
        loop = asyncio.get_running_loop()
        wall = lambda: NOON + loop.time()  # noqa: E731
        async with TraceProvider(weather, 1).client() as http_client:
            client = AsyncFlexOpenAI(
                policy=policy,  # type: ignore[arg-type]  # its fields
                clock=Clock(now=loop.time, wall=wall, random=Random(1).random),
                http_client=http_client,
                base_url=base_url,
                api_key=f"log-{next(_accounts)}",
            )

            async def call() -> None:
                await client.chat.completions.create(**CALL)

            with logged(wall, level) as lines:
                if one_by_one:
                    for _ in range(calls):
                        await call()
                else:
                    await asyncio.gather(*(call() for _ in range(calls)), return_exceptions=True)
            return lines

    return run_virtually(main)


EXAMPLES: dict[str, Callable[[], list[str]]] = {
    "one": lambda: lines_of(1, Weather(outages=((0, 400),)), patience=90),
    "many": lambda: lines_of(10_000, Weather(outages=((0, 240),), slots=400), patience=300),
}
"""Each example by the name that the page has for it."""


def written(page: str, name: str, lines: list[str]) -> str:
    """The page with the lines of an example."""
    block = f"<!-- log: {name} -->\n```text\n" + "\n".join(lines) + "\n```\n"
    found = re.compile(rf"<!-- log: {name} -->\n```text\n.*?\n```\n", re.DOTALL)
    assert found.search(page), name
    return found.sub(lambda _: block, page)


if __name__ == "__main__":
    import os

    os.environ["TZ"] = "UTC"
    time.tzset()
    text = PAGE.read_text(encoding="utf-8")
    for example, make in EXAMPLES.items():
        text = written(text, example, make())
    PAGE.write_text(text, encoding="utf-8")
