"""What the demo shows: a line for each call, a bar while it runs, a table at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from time import monotonic
from typing import Any

from flextier._extras import needs_extra
from flextier.calls import CallReport
from flextier.demo.work import Row

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


class Show:
    """The demo's terminal."""

    def __init__(self, weather: str | None) -> None:
        self._console = Console(highlight=False)
        self._started = monotonic()
        if weather is None:
            self._console.print("[bold]Live[/]: the real API, billed to OPENAI_API_KEY.")
        else:
            self._console.print(
                "[bold]Simulated[/]: no key is used and nothing is billed; the answers are made up "
                f"by the built-in simulator.\nFlex weather: {weather} (see docs/simulator.md)"
            )

    @contextmanager
    def progress(self, total: int) -> Iterator[None]:
        """A bar, for as long as the block runs."""
        columns = (
            TextColumn("topics"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._console, transient=True) as self._bar:
            self._task = self._bar.add_task("topics", total=total)
            yield

    def row(self, row: Row) -> None:
        """Show what one call went through."""
        self._bar.advance(self._task)
        report = row.report
        lane = report.lane if report else "-"
        seconds = f"{report.elapsed:5.1f} s" if report else ""
        self._bar.console.print(
            f"{row.topic:<24} [{LANES.get(lane, 'white')}]{lane:<9}[/] {seconds}  "
            + (_path(report) if report else "[red]lost before any request[/]")
        )

    def summary(self, rows: list[Row], stats: dict[str, Any] | None) -> None:
        """Show a few notes, and the table of all calls."""
        for row in rows[:3]:
            if row.note:
                tags = ", ".join(row.note.tags)
                self._console.print(Text(f"\n{row.topic}: {row.note.summary} [{tags}]"))
        self._console.print()
        self._console.print(_table(rows, monotonic() - self._started, stats))
        for row in rows:
            if row.error:
                self._console.print(Text(f"lost {row.topic}: {row.error!r}", style="red"))


def _path(report: CallReport) -> str:
    """The attempts in words: ``refused x3, stalled, served``, with the lane where it changes."""
    parts = []
    for (lane, outcome), attempts in groupby((a.lane, a.outcome) for a in report.attempts):
        count = len(list(attempts))
        word = WORDS.get(outcome, outcome) + (f" x{count}" if count > 1 else "")
        parts.append(word if lane == "flex" else f"on {lane}: {word}")
    return ", ".join(parts)


def _table(rows: list[Row], seconds: float, stats: dict[str, Any] | None) -> Table:
    reports = [row.report for row in rows if row.report]
    attempts = Counter(a.outcome for report in reports for a in report.attempts)
    lanes = Counter(row.report.lane for row in rows if row.report and row.note)
    lost = sum(row.note is None for row in rows)
    table = Table(
        "what every call went through", "", title=f"{len(rows)} calls", title_style="bold"
    )
    table.columns[1].justify = "right"
    for lane, count in lanes.most_common():
        table.add_row(f"answered on {lane}", str(count))
    table.add_row("lost", f"[red]{lost}[/]" if lost else "[green]nothing lost[/]")
    table.add_section()
    table.add_row("requests on the wire", str(sum(attempts.values())))
    if stats is not None:
        table.add_row("  the simulator counted", str(stats["requests"]))
    table.add_row("refusals (not billed)", str(attempts["capacity"]))
    table.add_row("stalls (possibly billed)", str(attempts["timeout"]))
    table.add_row("other faults", str(attempts["transient"] + attempts["rate_limited"]))
    table.add_row("calls that fell back", str(sum(r.fallback is not None for r in reports)))
    table.add_section()
    table.add_row("seconds waited, all calls", f"{sum(r.waited for r in reports):.1f}")
    table.add_row("seconds in all", f"{seconds:.1f}")
    return table
