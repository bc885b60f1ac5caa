"""The progress of a run: a bar on a terminal, JSON lines for programs, and its summary."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, TextIO

from flextier._utils.extras import needs_extra
from flextier._utils.safe_warn import safe_warn
from flextier.bulk.options import OnProgress
from flextier.bulk.result import BulkResult, Progress

_LINE_INTERVAL = 1.0
"""Seconds between two JSON lines."""


@contextmanager
def progress_callback(progress: bool | OnProgress | None) -> Iterator[OnProgress | None]:
    """Yield the progress callback of a run; None: it has none."""
    if progress is None:
        progress = sys.stderr is not None and sys.stderr.isatty()
    if callable(progress):
        yield _guarded(progress)
    elif progress:
        with _bar() as on_progress:
            yield on_progress
    else:
        yield None


def _guarded(progress: OnProgress) -> OnProgress:
    """The callback, which is not called again once it has raised: the rows go on."""
    failed = False

    def on_progress(now: Progress) -> None:
        nonlocal failed
        try:
            if not failed:
                progress(now)
        except Exception as error:  # noqa: BLE001 - the user's callback
            failed = True
            if not isinstance(error, BrokenPipeError):  # the reader has gone
                safe_warn(f"progress callback raised {error!r}; it is not called again")

    return on_progress


@contextmanager
def _bar() -> Iterator[OnProgress]:
    """A bar on standard error."""
    with needs_extra("bulk"):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[about]}"),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as screen:
        task = screen.add_task("running", total=None, about="")

        def on_progress(now: Progress) -> None:
            screen.update(
                task,
                description=f"stopping ({now.stopping})" if now.stopping else "running",
                total=now.total,
                completed=now.finished,
                about=_status(now),
            )

        yield on_progress


def _status(now: Progress) -> str:
    """Calls by lane, money, refusals, failures and the time left, in a line."""
    totals = now.totals.copy()
    parts = [f"{lane} {sums.calls:,}" for lane, sums in totals.by_lane.items()]
    parts += [f"${totals.cost:.4f} spent", f"${totals.saved:.4f} saved"]
    if totals.refusals:
        parts.append(f"{totals.refusals:,} refusals")
    if now.failed:
        parts.append(f"{now.failed:,} failed")
    parts.append(f"{now.per_second:,.0f}/s")
    if now.eta is not None:
        parts.append(f"{_clock(now.eta)} left")
    return " · ".join(parts)


def json_lines(file: TextIO) -> OnProgress:
    """A progress callback that writes a line of JSON once a second."""
    last = [-_LINE_INTERVAL]

    def on_progress(now: Progress) -> None:
        if monotonic() - last[0] >= _LINE_INTERVAL:
            last[0] = monotonic()
            write_json(file, {"event": "progress", **now.to_dict()})

    return on_progress


def write_json(file: TextIO, event: dict[str, Any]) -> None:
    """Write a line of JSON, flushed at once."""
    file.write(json.dumps(event) + "\n")
    file.flush()


def summary(result: BulkResult) -> list[str]:
    """The result in a few lines of text."""
    if result.resumed == result.rows and result.stopped is None:
        lines = [f"nothing is left to do: all {result.rows:,} rows are finished"]
    else:
        lines = [f"{result.done:,} of {result.rows:,} rows done in {_clock(result.elapsed)}"]
    totals = result.totals
    if totals.calls:
        lanes = ", ".join(f"{lane} {sums.calls:,}" for lane, sums in totals.by_lane.items())
        lines.append(f"{totals.calls:,} calls ({lanes}), {totals.refusals:,} refusals")
    elif result.done:
        lines.append("no call went through flextier: nothing is known of their cost")
    if result.failed:
        lines.append(f"{result.failed:,} rows failed: {result.errors}")
    if result.pending and result.stopped in ("submitted", "collected"):
        lines += _not_ready(result)
    elif result.pending:
        why = {
            "interrupted": "interrupted",
            "deadline": "the deadline has passed",
            "budget": "the budget is spent",
            "storage": "the disk is full",
        }.get(result.stopped or "", "stopped")
        lines.append(f"{why}: {result.pending:,} rows are pending; run the same again to continue")
    if result.output is not None:
        lines.append(f"output: {result.output}")
    if totals.calls:
        lines += ["", *str(result.receipt).splitlines()]
    return lines


def _not_ready(result: BulkResult) -> Iterator[str]:
    if result.submitted:
        yield f"{result.submitted:,} rows are submitted, and not done yet: --collect fetches them"
    if rest := result.pending - result.submitted:
        yield f"{rest:,} rows have calls that are not submitted: --submit submits them"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{rest:02}s" if minutes else f"{seconds:.1f}s"
