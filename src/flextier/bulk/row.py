"""Row: one record of the input, or the problem with it; and which of its values is the input."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flextier.bulk.errors import BulkError
from flextier.journal.call_entry import CallEntries

if TYPE_CHECKING:
    from flextier.costs.records import CallRecord

Identity = int | str
"""Identifies a row: its line, or its key as JSON text; ``#line`` for a row without its key."""


class RowProblem(Exception):
    """Why a row cannot be run; the message goes into the errors file."""


class Row:
    """One record of the input."""

    # Created by the million: no dataclass, and nothing is computed twice.
    __slots__ = (
        "digest",
        "hit_budget",
        "identity",
        "journal_entries",
        "key",
        "line",
        "problem",
        "records",
        "text",
        "values",
    )

    def __init__(
        self,
        line: int,
        values: dict[str, Any] | None,
        content: bytes,
        *,
        text: str | None = None,
        problem: str | None = None,
    ) -> None:
        self.line = line
        """The line of the input that it begins on, from 1; in Parquet, the number of the row."""
        self.values = values
        """Its columns; None: it could not be read."""
        self.text = text
        """Its text in a JSON lines input, unchanged."""
        self.problem = problem
        """Why it cannot be run; None: it can be."""
        self.digest = hashlib.blake2b(content, digest_size=16).digest()
        """Digest of its content: a row whose content has changed is run again."""
        self.key: Any = None
        """The value of its key column."""
        self.identity: Identity = line
        self.records: list[CallRecord] = []
        """The records of its calls."""
        self.journal_entries = CallEntries()
        """The journal's entries of these calls, in the order in which they began."""
        self.hit_budget = False
        """Whether a call was not made because the run's budget is spent."""

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


SelectInput = Callable[[Row], Any]
"""Returns what the runnable is given for a row."""

INPUT_COLUMNS = ("prompt", "input", "question", "query", "text")
"""Columns that are the default input of a runnable that takes text."""


def input_selector(column: str | None, *, needs_text: bool, first: Row | None) -> SelectInput:
    """The function that returns what the runnable is given for a row.

    Args:
        column: its value is the input. None: the whole row is; where text is needed, the only
            column, or the one of :data:`INPUT_COLUMNS`.
        needs_text: whether the runnable takes text, not a dict.
        first: the first readable row. None: there is none.

    Raises:
        BulkError: the first row has no such column, or which column is the input is ambiguous.
    """
    columns = list(first.values or ()) if first is not None else None
    if column is None and needs_text:
        column = _default_column(columns)
    if column is None:
        return lambda row: dict(row.values or ())
    if columns is not None and column not in columns:
        raise BulkError(f"input_column (--input): no column {column!r}; {_listed(columns)}")
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
        "this runnable takes text: name its column with input_column (--input); " + _listed(columns)
    )


def _listed(columns: list[str]) -> str:
    return "the columns are: " + ", ".join(map(repr, columns))
