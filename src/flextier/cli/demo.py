"""``flextier demo``: LangChain and LlamaIndex on the flex lane, through simulated outages."""

from __future__ import annotations

import argparse
import asyncio
import os
import webbrowser
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flextier.calls.context import scoped
from flextier.cli._common import fail
from flextier.costs.totals import CostTotals
from flextier.demo.provider import LONG_OUTAGE, SHORT_OUTAGE, DemoProvider, DemoWeather, provider

if TYPE_CHECKING:
    from flextier.costs.records import CallRecord
    from flextier.demo.display import Display
    from flextier.demo.questions import Question


@dataclass(frozen=True)
class Part:
    """A part of the demo: one framework's questions, in one weather."""

    framework: str
    module: str
    weather: DemoWeather
    is_optional: bool = False
    """Whether the demo skips it if the framework is not installed."""


PARTS = (
    Part("LangChain", "langchain", LONG_OUTAGE),
    Part("LlamaIndex", "llama_index", SHORT_OUTAGE, is_optional=True),
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
        help=f"the simulated weather [{LONG_OUTAGE.spec}; for LlamaIndex {SHORT_OUTAGE.spec}]",
    )
    parser.add_argument(
        "--report",
        metavar="FILE",
        help="where the HTML page with the costs goes [a new temporary directory]",
    )
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    parser.add_argument("--seed", type=int, default=4, help="of the weather [%(default)s]")


def run(options: argparse.Namespace) -> int:
    """Run the demo; return 0 if every question was answered, 1 if one failed, 2 for an error."""
    if options.live and not os.environ.get("OPENAI_API_KEY"):
        return fail("demo", "--live needs a key: set OPENAI_API_KEY")
    for name in ("topics", "concurrency"):
        number = getattr(options, name)
        if number is not None and number < 1:
            return fail("demo", f"--{name} must be at least 1, not {number}")
    page = options.report and Path(options.report)
    if page and (page.is_dir() or not page.parent.is_dir()):
        return fail("demo", f"--report {page}: give a file in an existing directory")
    # Imported here, so that `--help` needs neither a framework nor rich.
    from flextier.demo.display import Display
    from flextier.demo.questions import topics

    records: list[CallRecord] = []
    texts = topics(options.topics)
    try:
        with provider(options.live, options.seed) as api:
            display = Display(is_simulated=bool(api.simulators))
            rows = [
                row for part in PARTS for row in _run(part, options, api, display, texts, records)
            ]
        _show_costs(records, display, options)
    except (OSError, ValueError) as error:
        return fail("demo", error)
    return 1 if any(row.is_lost for row in rows) else 0


def _run(
    part: Part,
    options: argparse.Namespace,
    api: DemoProvider,
    display: Display,
    texts: Mapping[str, str],
    records: list[CallRecord],
) -> list[Question]:
    """Run one part, and add the records of its calls; skip it if it is not installed."""
    from flextier.costs.records import record_of
    from flextier.demo.peers import ask_peer
    from flextier.demo.questions import ask_all

    weather = part.weather
    if options.weather is not None:
        weather = replace(weather, spec=options.weather, words=options.weather or "always open")
    try:
        work = import_module(f"flextier.demo.{part.module}_work")
    except ImportError as error:
        if not part.is_optional:
            raise
        display.skipped(part.framework, error)
        return []
    arguments, *others = api.arguments(weather)
    asks = work.asks(texts, model=options.model, **arguments)
    api.start(weather)
    peers = [
        ask_peer(name, make(texts, model=options.model, **server), options.concurrency)
        for (name, make), server in zip(getattr(work, "PEERS", {}).items(), others, strict=False)
    ]
    simulated = scoped(simulated=bool(api.simulators))
    heading = display.part(part.framework, work.ASKED, len(asks), weather.words)
    with simulated, heading as done:
        rows: list[Question]
        rows, *results = asyncio.run(_all(ask_all(asks, options.concurrency, done), *peers))
    display.summary(part.framework, rows, api.requests())
    framework = part.module.replace("_", "-")
    made = [
        record_of(report, framework=framework, tags=(part.framework,))
        for row in rows
        for report in row.reports
    ]
    records += made
    if results:
        lost = sum(row.is_lost for row in rows)
        display.comparison(*results, ("ChatOpenAIFlex", CostTotals(made), lost))
    return rows


async def _all(*asking: Awaitable[Any]) -> list[Any]:
    return await asyncio.gather(*asking)


def _show_costs(records: list[CallRecord], display: Display, options: argparse.Namespace) -> None:
    """Display the costs, and write the page if its libraries are installed."""
    from flextier.demo.ledger import write_ledger, write_page

    display.costs(CostTotals(records))
    ledger = None
    try:
        ledger = write_ledger(records)
        page = write_page(ledger, options.report)
    except ImportError as error:
        display.no_page(error)
    else:
        display.file("HTML report", page)
        if options.open:
            webbrowser.open(page.resolve().as_uri())
    if ledger is not None:
        display.file("Ledger of all calls", ledger)
