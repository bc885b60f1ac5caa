"""Output of the demo: a line for each call, a progress bar, tables of results and of costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from time import monotonic

from flextier._utils.extras import needs_extra
from flextier.calls.report import CallReport
from flextier.costs.totals import CostTotals
from flextier.demo.questions import Question

with needs_extra("langchain,sim"):
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )
    from rich.table import Table
    from rich.text import Text

WORDS = {
    "served": "[green]served[/]",
    "capacity": "[yellow]refused[/]",
    "timeout": "[red]stalled[/]",
}
LANES = {"flex": "green", "standard": "magenta"}
_NO_EMBEDDINGS = "LlamaIndex's embeddings are not included: they have no lanes and bypass flextier."


class Display:
    """Prints to the terminal."""

    def __init__(self, *, is_simulated: bool) -> None:
        self._console = Console(highlight=False)
        self._is_simulated = is_simulated
        self._started = monotonic()
        self._console.print(
            "[bold]Simulated[/]: no key is used and nothing is billed; the answers are made up by "
            "the built-in simulator (see docs/simulator.md)."
            if is_simulated
            else "[bold]Live[/]: the real API, billed to OPENAI_API_KEY."
        )

    @contextmanager
    def part(
        self, framework: str, total: int, weather: str
    ) -> Iterator[Callable[[Question], None]]:
        """A heading and a progress bar; yields the function that prints a finished question."""
        self._started = monotonic()
        suffix = f"; flex weather: {weather}" if self._is_simulated else ""
        self._console.print(f"\n[bold]{framework}[/]{suffix}")
        columns = (
            TextColumn(framework),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._console, transient=True) as bar:
            task = bar.add_task(framework, total=total)

            def done(row: Question) -> None:
                bar.advance(task)
                for line in _lines(row):
                    bar.console.print(line)

            yield done

    def skipped(self, framework: str, missing: ImportError) -> None:
        """Print why a part is skipped, and what to install for it."""
        self._console.print(
            f"\n[bold]{framework}[/] is skipped:", Text(str(missing)), soft_wrap=True
        )

    def summary(self, framework: str, rows: Sequence[Question], counted: int | None) -> None:
        """Print some answers, and the table of all calls."""
        for row in (rows[0], rows[len(rows) // 2], rows[-1]):
            if row.answer is not None:
                self._console.print(Text(f"\n{row.name}: {row.answer}"))
        self._console.print()
        self._console.print(_table(framework, rows, monotonic() - self._started, counted))
        for row in rows:
            if row.error:
                self._console.print(Text(f"lost {row.name}: {row.error!r}", style="red"))

    def costs(self, totals: CostTotals) -> None:
        """Print the costs of all calls."""
        self._console.print()
        self._console.print(Text(str(totals)), soft_wrap=True)
        if "LlamaIndex" in totals.by_tag:
            self._console.print(_NO_EMBEDDINGS, soft_wrap=True)
        self._console.print()

    def file(self, what: str, path: Path) -> None:
        """Print the path of a file."""
        self._console.print(Text(f"{what}: {path}"), soft_wrap=True)

    def no_page(self, missing: ImportError) -> None:
        """Print why there is no HTML report, and what to install for it."""
        why = f"{missing.name} is not installed" if missing.name else str(missing)
        what = f'No HTML report: {why}. pip install "flextier[report]"'
        self._console.print(Text(what), soft_wrap=True)


def _lines(row: Question) -> Iterator[str]:
    """One line for each call of a question."""
    if not row.reports:
        yield f"{row.name:<28} [red]lost before any request[/]"
    for number, report in enumerate(row.reports):
        name = "" if number else row.name
        lane = f"[{LANES.get(report.lane, 'white')}]{report.lane:<9}[/]"
        yield f"{name:<28} {lane} {report.elapsed:5.1f} s  {_path(report)}"


def _path(report: CallReport) -> str:
    """The attempts in words: ``refused x3, stalled, served``, with the lane where it changes."""
    parts = []
    for (lane, outcome), attempts in groupby((a.lane, a.outcome) for a in report.attempts):
        count = len(list(attempts))
        word = WORDS.get(outcome, outcome) + (f" x{count}" if count > 1 else "")
        parts.append(word if lane == "flex" else f"on {lane}: {word}")
    return ", ".join(parts)


def _table(framework: str, rows: Sequence[Question], seconds: float, counted: int | None) -> Table:
    reports = [report for row in rows for report in row.reports]
    attempts = Counter(a.outcome for report in reports for a in report.attempts)
    lanes = Counter(report.lane for report in reports if report.served)
    lost = sum(row.is_lost for row in rows)
    table = Table(
        "what every call went through",
        "",
        title=f"{framework}: {len(rows)} questions, {len(reports)} calls",
        title_style="bold",
    )
    table.columns[1].justify = "right"
    for lane, count in lanes.most_common():
        table.add_row(f"answered on {lane}", str(count))
    table.add_row("lost", f"[red]{lost}[/]" if lost else "[green]nothing lost[/]")
    table.add_section()
    table.add_row("requests on the wire", str(sum(attempts.values())))
    if counted is not None:
        table.add_row("  the simulator counted", str(counted))
    table.add_row("refusals (not billed)", str(attempts["capacity"]))
    table.add_row("stalls (possibly billed)", str(attempts["timeout"]))
    table.add_row("other faults", str(attempts["transient"] + attempts["rate_limited"]))
    table.add_row("calls that fell back", str(sum(r.fallback is not None for r in reports)))
    table.add_section()
    table.add_row("seconds waited, all calls", f"{sum(r.waited for r in reports):.1f}")
    table.add_row("seconds in all", f"{seconds:.1f}")
    return table
