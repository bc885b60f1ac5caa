"""RunOptions: every option of a run, checked."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from flextier.bulk.durations import Span, seconds
from flextier.bulk.errors import BulkError
from flextier.bulk.input_formats import format_of
from flextier.lanes import AUTO, BATCH, LANES, WINDOWS
from flextier.policy import FlexPolicy

CONCURRENCY = 64
"""Rows under way at a time."""
BATCH_CONCURRENCY = 50_000
"""The same where rows wait offline: together for a batch to be full, or each for its window."""
COSTS = ("lane", "cost", "standard_cost")
"""The columns of ``with_cost``."""

ORDERS = ("input", "done")


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of a run."""

    input: Path
    output: Path
    errors: Path
    """Where the rows go that failed."""
    state: Path
    """The directory that keeps what is done so far."""
    key: str | None
    """The column that rows are known by; None: by their line."""
    input_column: str | None
    """What the runnable is given; None: the whole row, or the obvious text."""
    output_column: str
    lanes: tuple[str, ...] | None
    """The ladder of the calls; None: that of their client."""
    deadline: float | None
    """Seconds, for the whole run."""
    concurrency: int
    budget: Decimal | None
    """US$, for the whole run, however often it is started."""
    order: str
    """``"input"`` or ``"done"``: of the output's rows."""
    with_cost: bool
    retry_errors: bool
    overwrite: bool

    @property
    def added(self) -> tuple[str, ...]:
        """The columns that the output has and the input must not have."""
        return (self.output_column, *(COSTS if self.with_cost else ()))

    @property
    def settings(self) -> dict[str, Any]:
        """What must be the same for rows that are done to count as done."""
        return {
            "key": self.key,
            "input_column": self.input_column,
            "output_column": self.output_column,
            "with_cost": self.with_cost,
        }

    @property
    def part(self) -> Path | None:
        """Where results can be read while the run goes on; None: nowhere."""
        if self.order != "done" or format_of(self.output, "output") != "jsonl":
            return None
        return beside(self.output, ".part")


def options(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    key: str | None,
    input_column: str | None,
    output_column: str,
    lanes: str | Iterable[str] | None,
    deadline: Span | None,
    concurrency: int | None,
    budget: Decimal | int | float | str | None,
    order: str,
    with_cost: bool,
    retry_errors: bool,
    overwrite: bool,
    errors: str | os.PathLike[str] | None,
) -> RunOptions:
    """The options, checked.

    Raises:
        BulkError: one of them cannot be; the message names it.
        PolicyError: the lanes, or a variable of the environment, cannot be.
    """
    # Of a link that it is, the output is what it points to.
    out = Path(os.path.realpath(output))
    ladder = _ladder(lanes)
    left = None if deadline is None else seconds(deadline)
    if order not in ORDERS:
        raise BulkError(f"order (--order) is input or done, not {order!r}")
    if concurrency is not None and concurrency < 1:
        raise BulkError(f"concurrency (--concurrency) must be at least 1, not {concurrency}")
    if output_column in COSTS and with_cost:
        raise BulkError(f"output_column (--output-column): {output_column!r} is of with_cost")
    checked = RunOptions(
        input=Path(source),
        output=out,
        errors=beside(out, ".errors.jsonl") if errors is None else Path(os.path.realpath(errors)),
        state=beside(out, ".run"),
        key=key,
        input_column=input_column,
        output_column=output_column,
        lanes=ladder,
        deadline=left,
        concurrency=concurrency or _usual(ladder, left, budget is not None),
        budget=None if budget is None else _amount(budget),
        order=order,
        with_cost=with_cost,
        retry_errors=retry_errors,
        overwrite=overwrite,
    )
    _check_files(checked)
    return checked


def beside(output: Path, ending: str) -> Path:
    """The file next to the output whose name is longer by ``ending``."""
    return output.with_name(output.name + ending)


def _ladder(lanes: str | Iterable[str] | None) -> tuple[str, ...] | None:
    if lanes is None:
        return None
    names = lanes.split(",") if isinstance(lanes, str) else lanes
    ladder = tuple(name.strip() for name in names if name.strip())
    FlexPolicy.check({"lanes": ladder})
    return ladder


def _usual(ladder: tuple[str, ...] | None, deadline: float | None, capped: bool) -> int:
    """Offline, rows take no connection while they wait, and files are to be full.

    What is under way is not stopped by a budget: with one, only a batch is worth that many at once.
    """
    names = ladder or FlexPolicy().lanes
    if capped and BATCH.name not in names and names != (AUTO,):
        return CONCURRENCY
    if names == (AUTO,):  # which has no time for a window then, nor for a batch
        online = deadline is not None and deadline <= WINDOWS["2h"]
    else:
        online = all(name in LANES and not LANES[name].deferred for name in names)
    return CONCURRENCY if online else BATCH_CONCURRENCY


def _amount(run_options: Decimal | int | float | str) -> Decimal:
    try:
        amount = Decimal(str(run_options))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount <= 0:
        raise BulkError(f"budget ({run_options!r}): US$ above 0")
    return amount


def _check_files(run_options: RunOptions) -> None:
    format_of(run_options.output, "output")
    if not run_options.output.parent.is_dir():
        raise BulkError(
            f"output {run_options.output}: there is no directory {run_options.output.parent}"
        )
    if not run_options.errors.parent.is_dir():
        raise BulkError(f"errors (--errors): there is no directory {run_options.errors.parent}")
    if run_options.output.exists() and not run_options.output.is_file():
        raise BulkError(f"output {run_options.output} is no file")
    used: dict[Path, str] = {}
    for name in ("input", "output", "errors"):
        path = Path(os.path.realpath(getattr(run_options, name)))
        if path in used:
            raise BulkError(f"{used[path]} and {name} are the same file: {path}")
        used[path] = name
