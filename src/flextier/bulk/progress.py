"""What a run shows: a bar for people, lines for machines, nothing for files."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, TextIO

from flextier._utils.extras import needs_extra
from flextier._utils.safe_warn import safe_warn

if TYPE_CHECKING:
    from flextier.bulk.result import BulkResult, Progress

OnProgress = Callable[["Progress"], object]

_LINE_EVERY = 1.0
"""Seconds between two lines for machines."""


@contextmanager
def showing(progress: bool | OnProgress | None) -> Iterator[OnProgress | None]:
    """The progress callback, while this lasts; None: none.

    Args:
        progress: True: a bar; False: none; None: a bar on a terminal; or a callback.
    """
    if progress is None:
        progress = sys.stderr is not None and sys.stderr.isatty()
    if callable(progress):
        yield _harmless(progress)
    elif progress:
        with bar() as on_progress:
            yield on_progress
    else:
        yield None


def _harmless(progress: OnProgress) -> OnProgress:
    """The same, which is not asked again when it has failed: the rows are worth more."""
    failed = False

    def on_progress(now: Progress) -> None:
        nonlocal failed
        if failed:
            return
        try:
            progress(now)
        except BrokenPipeError:  # the reader has gone
            failed = True
        except Exception as error:  # noqa: BLE001 - it is the user's
            failed = True
            safe_warn(f"progress callback raised {error!r}; it is not called again")

    return on_progress


@contextmanager
def bar() -> Iterator[OnProgress]:
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
                about=about(now),
            )

        yield on_progress


def about(now: Progress) -> str:
    """Lanes, money, refusals, failures and the time left, in a line."""
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
    """Who writes the progress as a line of JSON, once a second."""
    last = [-_LINE_EVERY]

    def on_progress(now: Progress) -> None:
        if monotonic() - last[0] >= _LINE_EVERY:
            last[0] = monotonic()
            write_json(file, {"event": "progress", **now.to_dict()})

    return on_progress


def write_json(file: TextIO, event: dict[str, Any]) -> None:
    """Write a line of JSON, flushed at once."""
    file.write(json.dumps(event) + "\n")
    file.flush()


def summary(result: BulkResult) -> list[str]:
    """What a run came to, in a few lines."""
    if result.resumed == result.rows and result.stopped is None:
        lines = [f"nothing is left to do: all {result.rows:,} rows are finished"]
    else:
        lines = [f"{result.done:,} of {result.rows:,} rows done in {_clock(result.elapsed)}"]
    totals = result.totals
    if totals.calls:
        lanes = ", ".join(f"{lane} {sums.calls:,}" for lane, sums in totals.by_lane.items())
        lines.append(
            f"{totals.calls:,} calls ({lanes}), ${totals.cost:f} spent, ${totals.saved:f} saved, "
            f"{totals.refusals:,} refusals"
        )
    if result.failed:
        lines.append(f"{result.failed:,} rows failed: {result.errors}")
    if result.pending:
        why = {
            "interrupted": "interrupted",
            "deadline": "the deadline is over",
            "budget": "the budget is spent",
            "storage": "the disk is full",
        }.get(result.stopped or "", "stopped")
        lines.append(f"{why}: {result.pending:,} rows are still to be done; the same again goes on")
    if result.output is not None:
        lines.append(f"output: {result.output}")
    return lines


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{rest:02}s" if minutes else f"{seconds:.1f}s"
