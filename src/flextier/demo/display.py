"""Output of the demo: a line for each call, a progress bar, tables of results and of costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from time import monotonic

from flextier._utils.extras import needs_extra
from flextier._utils.formatting import dollars, percent
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

MAX_LINES = 20
"""Lines of calls that are printed; then only of calls that fell back or are lost."""

WORDS = {
    "served": "[green]served[/]",
    "capacity": "[yellow]refused[/]",
    "timeout": "[red]stalled[/]",
}
REASONS = {"capacity": "flex stayed full", "timeout": "flex stalled"}
LANES = {"flex": "green", "standard": "magenta"}


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
        self, framework: str, asked: str, total: int, weather: str
    ) -> Iterator[Callable[[Question], None]]:
        """A heading and a progress bar; yields the function that prints a finished question."""
        self._started = monotonic()
        self._console.print(f"\n[bold]{framework}[/]: {total} {asked}", soft_wrap=True)
        if self._is_simulated:
            self._console.print(f"Flex: {weather}", soft_wrap=True)
        columns = TextColumn(framework), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        printed, more = 0, 0
        self._console.print(f"\n[bold]{'question':<28} {'billed on':<9} {'took':>7}  attempts[/]")
        with Progress(*columns, console=self._console, transient=True) as bar:
            task = bar.add_task(framework, total=total)

            def done(row: Question) -> None:
                nonlocal printed, more
                bar.advance(task)
                if printed >= MAX_LINES and not row.is_lost and not row.fell_back:
                    more += 1
                    return
                for line in _lines(row):
                    printed += 1
                    bar.console.print(line)

            yield done
        if more:
            self._console.print(f"… and {more} more, all on flex")

    def skipped(self, framework: str, missing: ImportError) -> None:
        """Print why a part is skipped, and what to install for it."""
        self._console.print(
            f"\n[bold]{framework}[/] is skipped:", Text(str(missing)), soft_wrap=True
        )

    def summary(self, framework: str, rows: Sequence[Question], counted: int | None) -> None:
        """Print one answer, and what the calls went through."""
        answer = next((row for row in rows if row.answer is not None), None)
        if answer is not None:
            self._console.print(Text(f"\n{answer.name}: {answer.answer}\n"))
        for line in _summary(rows, monotonic() - self._started, counted):
            self._console.print(line, soft_wrap=True)
        for row in rows:
            if row.error:
                self._console.print(Text(f"lost {row.name}: {row.error!r}", style="red"))

    def comparison(self, *results: tuple[str, CostTotals, int]) -> None:
        """Print what the same questions came to without flextier, and last with it.

        A result is a name, the costs, and how many questions were lost.
        """
        heads = ("the same in this weather", "on flex", "standard", "lost", "paid", "of list price")
        table = Table(*heads, box=None, padding=(0, 2, 0, 0))
        table.columns[0].no_wrap = True
        for column in table.columns[1:]:
            column.justify = "right"
        for result in results:
            table.add_row(*_compared(*result), style="bold" if result is results[-1] else None)
        self._console.print()
        self._console.print(table)

    def costs(self, totals: CostTotals) -> None:
        """Print the costs of all calls."""
        self._console.print()
        self._console.print(Text(str(totals)), soft_wrap=True)
        if "LlamaIndex" in totals.by_tag:
            self._console.print(
                "LlamaIndex's embeddings are not included: they have no lanes and bypass flextier.",
                soft_wrap=True,
            )
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
    """The attempts in words, and why the call fell back: ``refused x3, stalled, served``."""
    parts = []
    for (lane, outcome), attempts in groupby((a.lane, a.outcome) for a in report.attempts):
        count = len(list(attempts))
        word = WORDS.get(outcome, outcome) + (f" x{count}" if count > 1 else "")
        parts.append(word if lane == "flex" else f"on {lane}: {word}")
    reason = REASONS.get(report.fallback or "", f"fell back: {report.fallback}")
    return ", ".join(parts) + (f" ({reason})" if report.fallback else "")


def _summary(rows: Sequence[Question], seconds: float, counted: int | None) -> Iterator[str]:
    reports = [report for row in rows for report in row.reports]
    attempts = Counter(a.outcome for report in reports for a in report.attempts)
    lanes = Counter(report.lane for report in reports if report.served)
    lost = sum(row.is_lost for row in rows)
    served = ", ".join(f"{count} on {lane}" for lane, count in lanes.most_common())
    yield (
        f"[bold]{len(rows)} questions, {len(reports)} calls[/]: {served}; "
        + (f"[red]{lost} lost[/]" if lost else "[green]nothing lost[/]")
    )
    seen = "" if counted is None else f" (the simulator counted {counted})"
    yield (
        f"{sum(attempts.values())} requests{seen}: {attempts['capacity']} refused (not billed), "
        f"{attempts['timeout']} stalled (possibly billed), "
        f"{attempts['transient'] + attempts['rate_limited']} other faults"
    )
    yield f"{sum(r.waited for r in reports):.0f} s waited by all calls, {seconds:.0f} s in all"


def _compared(name: str, costs: CostTotals, lost: int) -> tuple[str, ...]:
    flex, standard = (costs.by_lane.get(lane) for lane in ("flex", "standard"))
    return (
        name,
        str(flex.calls if flex else 0),
        str(standard.calls if standard else 0),
        str(lost),
        dollars(costs.cost),
        percent(costs.cost, costs.standard_cost),
    )
