"""Row: one record of the input, or the problem with it; and which of its values is the input."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, InitVar, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flextier.bulk.errors import BulkError
from flextier.journal.call_entry import CallEntries

if TYPE_CHECKING:
    from flextier.calls.report import CallReport

Identity = int | str
"""Identifies a row: its line, or its key as JSON text; ``#line`` for a row without its key."""


class RowProblem(Exception):
    """Why a row cannot be run; the message goes into the errors file."""


@dataclass(eq=False, slots=True)
class Row:
    """One record of the input."""

    line: int
    """The line of the input that it begins on, from 1; in Parquet, the number of the row."""
    values: dict[str, Any] | None
    """Its columns; None: it could not be read."""
    content: InitVar[bytes]
    _: KW_ONLY
    text: str | None = None
    """Its text in a JSON lines input, unchanged."""
    problem: str | None = None
    """Why it cannot be run; None: it can be."""
    key: Any = None
    """The value of its key column."""
    digest: bytes = field(init=False)
    """Digest of its content: a row whose content has changed is run again."""
    identity: Identity = field(init=False)
    reports: list[CallReport] = field(default_factory=list)
    """The reports of its calls."""
    journal_entries: CallEntries = field(default_factory=CallEntries)
    """The journal's entries of these calls, in the order in which they began."""
    hit_budget: bool = False
    """Whether a call was not made because the run's budget is spent."""

    def __post_init__(self, content: bytes) -> None:
        self.digest = hashlib.blake2b(content, digest_size=16).digest()
        self.identity = self.line

    def identify_by(self, column: str) -> None:
        """Identify it by the value of a column, not by its line."""
        if self.values is not None:
            self.key = self.values.get(column)
            if self.key not in (None, ""):
                self.identity = json.dumps(self.key, sort_keys=True, default=str)
                return
            self.problem = f"no value in the key column {column!r}"
        self.identity = self.line_identity

    @property
    def line_identity(self) -> str:
        """The identity of a row without a key of its own, where rows have keys."""
        return f"#{self.line}"


def unique_columns(path: Path, columns: Iterable[str]) -> tuple[str, ...]:
    """The columns of an input file; a BulkError if two have the same name."""
    names = tuple(columns)
    for name in names:
        if names.count(name) > 1:
            raise BulkError(f"input {path}: two columns are called {name!r}")
    return names


SelectInput = Callable[[Row], Any]
"""Returns what the runnable is given for a row."""

INPUT_COLUMNS = ("prompt", "input", "question", "query", "text")
"""Columns that are the default input of a runnable that takes text."""


def input_selector(column: str | None, *, needs_text: bool, first: Row | None) -> SelectInput:
    """The function that returns what the runnable is given for a row: the value of a column.

    Without a ``column`` that is the whole row; where text is needed, it is the only column, or the
    one of :data:`INPUT_COLUMNS`. A BulkError: ``first``, the first readable row, has no such
    column, or which one is the input is ambiguous.
    """
    columns = list(first.values or ()) if first is not None else None
    if column is None and needs_text:
        column = _default_column(columns)
    if column is None:
        return lambda row: dict(row.values or ())
    if columns is not None and column not in columns:
        raise BulkError(f"input_column (--input): no column {column!r}; {listed(columns)}")
    selected = column

    def select(row: Row) -> Any:
        values = row.values or {}
        if selected not in values:
            raise RowProblem(f"no column {selected!r}")
        return values[selected]

    return select


def _default_column(columns: list[str] | None) -> str:
    if not columns:
        return INPUT_COLUMNS[0]
    if len(columns) == 1:
        return columns[0]
    named = [column for column in columns if column.lower() in INPUT_COLUMNS]
    if len(named) == 1:
        return named[0]
    raise BulkError(
        "this runnable takes text: name its column with input_column (--input); " + listed(columns)
    )


def listed(columns: Iterable[str]) -> str:
    """The columns of the input, for a message."""
    return "the columns are: " + ", ".join(map(repr, columns))


def taken(column: str) -> str:
    """A column of the input that the output adds, for a message."""
    return f"a column {column!r} already: choose another with output_column (--output-column)"
