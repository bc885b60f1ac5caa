"""The options of a run: the keyword arguments of run() and arun(), and what they are checked to."""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Literal, TypeVar, get_type_hints

from typing_extensions import TypedDict, Unpack

from flextier._utils.durations import Duration, next_time_of_day, parse_duration
from flextier._utils.suggest import check_arguments
from flextier.bulk.errors import BulkError
from flextier.bulk.input_formats import format_of
from flextier.bulk.result import Progress
from flextier.lanes import AUTO, EXECUTIONS, LANES
from flextier.policy import FlexPolicy
from flextier.quotes.quote import Quote
from flextier.variables import is_off

PathLike = str | os.PathLike[str]
OnProgress = Callable[[Progress], object]
_Function = TypeVar("_Function", bound=Callable[..., Any])

DEFAULT_CONCURRENCY = 64
DEFERRED_CONCURRENCY = 50_000
"""The default where rows wait without a connection: for a full batch, or each for its window."""
COST_COLUMNS = ("lane", "cost", "standard_cost")
"""The columns that ``with_cost`` adds."""


class RunArguments(TypedDict, total=False):
    """The keyword arguments of :func:`flextier.bulk.run` and :func:`flextier.bulk.arun`."""

    key: str | None
    """The column that identifies a row across starts. None: its line does."""
    input_column: str | None
    """The column that the runnable is given. None: the whole row as a dict; where a text is needed,
    the only column, or the one called prompt, input, question, query or text."""
    output_column: str
    """The column for the responses, ``"output"`` by default."""
    lanes: str | Iterable[str] | None
    """The lanes of the calls in order, such as ``("flex",)``. None: those of their client."""
    deadline: Duration | None
    """For the whole run: seconds, ``"6h"``, ``"90m"``. None: no limit. After it, no call is made,
    and unfinished rows stay pending."""
    until: str | None
    """The same as a time of day, such as ``"06:00"``: local time, the next one. With a deadline
    too, the earlier end counts."""
    concurrency: int | None
    """The maximum number of rows in flight. None: 64; with the batch lane 50,000."""
    budget: Decimal | int | float | str | None
    """US$ for the whole run, however often it is started. None: no limit."""
    order: Literal["input", "done"]
    """The order of the output's rows: ``"input"`` (the default), or ``"done"``, as they finish;
    then, with JSON lines, ``OUTPUT.part`` has them during the run."""
    with_cost: bool
    """Whether to add the columns lane, cost and standard_cost; False by default."""
    retry_errors: bool
    """Whether to run rows again that failed in an earlier start; by default they stay failed."""
    overwrite: bool
    """Whether to replace an output that this run did not write; False by default."""
    errors: PathLike | None
    """The file for failed rows. None: ``OUTPUT.errors.jsonl``."""
    submit: bool
    """Whether to end when the calls that wait for a batch or a background response are created and
    in the journal; False by default: the run waits for them. Such a run fetches what is done, too.
    """
    collect: bool
    """Whether to fetch what was submitted and is done, and to send no other call; False by
    default."""
    quoted: Quote | None
    """A quote to compare the receipt with. None: that of ``flextier run --quote``, if there was
    one."""
    receipt: PathLike | None
    """A file for the receipt, as JSON. None: there is none; the result has it."""
    progress: bool | OnProgress | None
    """True: a progress bar; False: none; None: one if standard error is a terminal; a function: it
    is called with a :class:`Progress` ten times a second."""


_DEFAULTS: dict[str, Any] = {
    **dict.fromkeys(RunArguments.__annotations__),
    "output_column": "output",
    "order": "input",
    "with_cost": False,
    "retry_errors": False,
    "overwrite": False,
    "submit": False,
    "collect": False,
}
_UNCHECKED = (
    "key", "input_column", "output_column", "order", "with_cost", "retry_errors", "overwrite",
    "progress", "submit", "collect", "quoted",
)  # fmt: skip


def lists_arguments(function: _Function) -> _Function:
    """Show the fields of :class:`RunArguments`, not ``**arguments``, in the function's help."""
    signature = inspect.signature(function)
    positional = list(signature.parameters.values())[:-1]
    keywords = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)
        for (name, default), hint in zip(
            _DEFAULTS.items(), get_type_hints(RunArguments).values(), strict=True
        )
    ]
    shown = signature.replace(parameters=[*positional, *keywords])
    function.__signature__ = shown  # type: ignore[attr-defined]  # read by inspect.signature
    return function


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The checked options of a run; those without a word are as in :class:`RunArguments`."""

    input: Path
    output: Path
    errors: Path
    receipt: Path | None
    quoted: Quote | None
    state_dir: Path
    """``OUTPUT.run``, the directory of the checkpoints and the journal."""
    key: str | None
    input_column: str | None
    output_column: str
    lanes: tuple[str, ...] | None
    deadline: float | None
    """Seconds."""
    concurrency: int
    budget: Decimal | None
    order: str
    with_cost: bool
    retry_errors: bool
    overwrite: bool
    submit: bool
    collect: bool
    progress: bool | OnProgress | None

    @property
    def added_columns(self) -> tuple[str, ...]:
        """The columns that the output has and the input must not have."""
        return (self.output_column, *(COST_COLUMNS if self.with_cost else ()))

    @property
    def settings(self) -> dict[str, Any]:
        """The options that must not change between the starts of a run."""
        names = "key", "input_column", "output_column", "with_cost"
        return {name: getattr(self, name) for name in names}

    @property
    def part_file(self) -> Path | None:
        """The file in which finished rows can be read during the run; None: there is none."""
        if self.order != "done" or format_of(self.output, "output") != "jsonl":
            return None
        return _with_suffix(self.output, ".part")


def options(input: PathLike, output: PathLike, **arguments: Unpack[RunArguments]) -> RunOptions:
    """The options, checked: a BulkError names the one that is wrong."""
    check_arguments("run", arguments, _DEFAULTS)
    given: dict[str, Any] = {**_DEFAULTS, **arguments}
    # A link stays a link: the output is the file that it points to.
    target = Path(os.path.realpath(output))
    budget, concurrency, errors = given["budget"], given["concurrency"], given["errors"]
    default = _with_suffix(target, ".errors.jsonl")
    errors = default if errors is None else Path(os.path.realpath(errors))
    if (lanes := given["lanes"]) is not None:
        names = lanes.split(",") if isinstance(lanes, str) else lanes
        lanes = tuple(name.strip() for name in names if name.strip())
        FlexPolicy.check({"lanes": lanes})
    _check_submit(given, lanes)
    deadline = _seconds(given["deadline"], given["until"])
    if given["order"] not in ("input", "done"):
        raise BulkError(f"order (--order) is input or done, not {given['order']!r}")
    if concurrency is not None and concurrency < 1:
        raise BulkError(f"concurrency (--concurrency) must be at least 1, not {concurrency}")
    if given["output_column"] in COST_COLUMNS and given["with_cost"]:
        raise BulkError(
            f"output_column (--output-column): with_cost adds a column {given['output_column']!r}"
        )
    checked = RunOptions(
        input=Path(input),
        output=target,
        errors=errors,
        receipt=None if given["receipt"] is None else Path(os.path.realpath(given["receipt"])),
        state_dir=_with_suffix(target, ".run"),
        lanes=lanes,
        deadline=deadline,
        concurrency=concurrency or _default_concurrency(lanes, deadline, budget is not None),
        budget=None if budget is None else _amount(budget),
        **{name: given[name] for name in _UNCHECKED},
    )
    _check_files(checked)
    return checked


def _check_submit(given: dict[str, Any], lanes: tuple[str, ...] | None) -> None:
    """Check that a run which does not wait for its calls has lanes on which they go on."""
    if given["submit"] and given["collect"]:
        raise BulkError(
            "submit (--submit) fetches what is done, too: leave collect (--collect) out"
        )
    named = lanes is not None and lanes != (AUTO,)
    if given["submit"] and named and all(EXECUTIONS[x] == "direct" for x in lanes or ()):
        raise BulkError(
            "submit (--submit) needs a lane whose calls go on without the program: batch or "
            "background in lanes (--lanes)"
        )


def _seconds(deadline: Duration | None, until: str | None) -> float | None:
    """Seconds until the run ends; None: it may take as long as it needs."""
    name = "deadline (--deadline)"
    try:
        ends = [] if deadline is None else [parse_duration(deadline)]
        name = "until (--until)"
        if until is not None:
            now = time.time()
            ends.append(next_time_of_day(until, now) - now)
    except ValueError as error:
        raise BulkError(f"{name} {error}") from error
    return min(ends, default=None)


def _with_suffix(output: Path, suffix: str) -> Path:
    """The path of the output with a suffix added to its name."""
    return output.with_name(output.name + suffix)


def _default_concurrency(
    lanes: tuple[str, ...] | None, deadline: float | None, has_budget: bool
) -> int:
    """Many rows where they wait without a connection, and batches should be full.

    A budget does not stop rows in flight: with one, only a batch is worth that many.
    """
    if is_off():
        return DEFAULT_CONCURRENCY
    names = lanes or FlexPolicy().lanes
    executions = {EXECUTIONS.get(name) for name in names}
    if has_budget and "batch" not in executions and names != (AUTO,):
        return DEFAULT_CONCURRENCY
    if names == (AUTO,):  # a short deadline leaves no time for a window, nor for a batch
        deferred = (lane for lane in LANES.values() if lane.deferred)
        spans = (lane.window_seconds or lane.auto_min_deadline for lane in deferred)
        is_direct = deadline is not None and deadline <= min(filter(None, spans))
    else:
        is_direct = executions == {"direct"}
    return DEFAULT_CONCURRENCY if is_direct else DEFERRED_CONCURRENCY


def _amount(budget: Decimal | int | float | str) -> Decimal:
    try:
        amount = Decimal(str(budget))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount <= 0:
        raise BulkError(f"budget ({budget!r}): must be a number of US$ above 0")
    return amount


def _check_files(run_options: RunOptions) -> None:
    output, errors = run_options.output, run_options.errors
    format_of(output, "output")
    places = (f"output {output}", output), ("errors (--errors)", errors)
    for what, path in (*places, ("receipt (--receipt)", run_options.receipt)):
        if path is not None and not path.parent.is_dir():
            raise BulkError(f"{what}: there is no directory {path.parent}")
    if output.exists() and not output.is_file():
        raise BulkError(f"output {output} is not a file")
    used: dict[Path, str] = {}
    for name in ("input", "output", "errors", "receipt"):
        if (given := getattr(run_options, name)) is None:
            continue
        path = Path(os.path.realpath(given))
        if path in used:
            raise BulkError(f"{used[path]} and {name} are the same file: {path}")
        used[path] = name
