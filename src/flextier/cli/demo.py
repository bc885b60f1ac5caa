"""The command: its options, and the parts of the demo one after the other."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING

from flextier.cli._common import fail
from flextier.demo.provider import LONG, SHORT, DemoProvider, DemoWeather, provider

if TYPE_CHECKING:
    from flextier.demo.cost_tracking import DemoCosts
    from flextier.demo.display import Display
    from flextier.demo.questions import Question


@dataclass(frozen=True)
class Part:
    """A part of the demo: one framework's work, in one weather."""

    framework: str
    name: str
    """The framework, as records name it."""
    module: str
    climate: DemoWeather
    is_optional: bool = False
    """Whether the demo goes on without it."""


PARTS = (
    Part("LangChain", "langchain", "flextier.demo.langchain_work", LONG),
    Part("LlamaIndex", "llama-index", "flextier.demo.llama_index_work", SHORT, is_optional=True),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``flextier demo`` to a parser."""
    parser.add_argument(
        "--live", action="store_true", help="use the real API, with OPENAI_API_KEY; it costs money"
    )
    parser.add_argument("--model", default="o4-mini", help="the model [%(default)s]")
    parser.add_argument(
        "--topics", type=int, metavar="N", help="only the first N of Python's help topics [all]"
    )
    parser.add_argument(
        "--concurrency",
        type=int,
        default=16,
        metavar="N",
        help="questions at a time [%(default)s]",
    )
    parser.add_argument(
        "--weather",
        metavar="SPEC",
        help=f"the simulated weather [{LONG.weather}; for LlamaIndex {SHORT.weather}]",
    )
    parser.add_argument(
        "--report",
        metavar="FILE",
        help="where the HTML page with the costs goes [a new temporary directory]",
    )
    parser.add_argument("--seed", type=int, default=4, help="of the weather [%(default)s]")


def run(options: argparse.Namespace) -> int:
    """Run the demo; returns 0 if every question was answered, 1 if one was lost, 2 if it cannot."""
    if options.live and not os.environ.get("OPENAI_API_KEY"):
        return fail("demo", "--live needs a key: set OPENAI_API_KEY")
    for name in ("topics", "concurrency"):
        number = getattr(options, name)
        if number is not None and number < 1:
            return fail("demo", f"--{name} must be at least 1, not {number}")
    # Here, so that `--help` needs neither a framework nor a terminal's colours.
    from flextier.demo.cost_tracking import DemoCosts
    from flextier.demo.display import Display
    from flextier.demo.questions import topics

    texts = topics(options.topics)
    try:
        with provider(options.live, options.seed) as place:
            books = DemoCosts(options.report)
            screen = Display(is_simulated=place.is_simulated)
            rows = [
                row for part in PARTS for row in _do(part, options, place, screen, texts, books)
            ]
        _settle(books, screen)
    except (OSError, ValueError) as error:
        return fail("demo", error)
    return 1 if any(row.is_lost for row in rows) else 0


def _do(
    part: Part,
    options: argparse.Namespace,
    place: DemoProvider,
    screen: Display,
    texts: Mapping[str, str],
    books: DemoCosts,
) -> list[Question]:
    """Do one part, unless it is optional and something is missing for it."""
    from flextier.demo.questions import ask_all

    climate = part.climate
    if options.weather is not None:
        climate = replace(climate, weather=options.weather)
    try:
        work = import_module(part.module)
    except ImportError as error:
        if not part.is_optional:
            raise
        screen.left_out(part.framework, error)
        return []
    asks = work.asks(texts, model=options.model, **place.arguments(climate))
    place.begin(climate)
    counting = books.counting(part.name, part.framework)
    with counting, screen.part(part.framework, len(asks), climate.weather) as done:
        rows = asyncio.run(ask_all(asks, options.concurrency, done))
    screen.summary(part.framework, rows, place.requests())
    return rows


def _settle(books: DemoCosts, screen: Display) -> None:
    """Display what it all cost, and write the page, unless something is missing for it."""
    books.close()
    screen.costs(books.totals)
    try:
        page = books.write_page()
    except ImportError as error:
        screen.no_page(error)
    else:
        screen.wrote("HTML report", page)
    if books.file is not None:
        screen.wrote("Ledger of all calls", books.file)
