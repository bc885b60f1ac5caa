"""Row: one record of the input, or why there is none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flextier.bulk.errors import BulkError

if TYPE_CHECKING:
    from flextier.costs.records import CallRecord
    from flextier.journal.call_entry import CallEntry

Identity = int | str
"""What a row is known by: its line, or its key as JSON text; ``#line`` where it has no key."""


class RowProblem(Exception):
    """Why a row cannot be run. The message is for the errors file."""


class Row:
    """One record of the input."""

    # Made once a row, by the million: no dataclass, and nothing that is worked out twice.
    __slots__ = (
        "digest",
        "identity",
        "is_cut",
        "key",
        "line",
        "memories",
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
        """Where it stands in the input: the line it begins on, from 1; in Parquet, which row."""
        self.values = values
        """Its columns; None: it could not be read."""
        self.text = text
        """Its JSON as it stands in the input, where that is JSON."""
        self.problem = problem
        """Why it cannot be run; None: it can."""
        self.digest = hashlib.blake2b(content, digest_size=16).digest()
        """Of its content: another one is another row."""
        self.key: Any = None
        """The value of its key column."""
        self.identity: Identity = line
        self.records: list[CallRecord] = []
        """The calls made for it."""
        self.memories: list[CallEntry] = []
        """What the journal knows of them, in the order in which they began."""
        self.is_cut = False
        """Whether a call was not made, as the budget of the run is spent."""

    def name(self, key: str) -> None:
        """Know it by the value of a column from now on."""
        if self.values is not None:
            self.key = self.values.get(key)
            if self.key not in (None, ""):
                self.identity = json.dumps(self.key, sort_keys=True, default=str)
                return
            self.problem = f"no value in the key column {key!r}"
        self.identity = self.by_place

    @property
    def by_place(self) -> str:
        """What a row is known by that has no key of its own, where rows have keys."""
        return f"#{self.line}"


Pick = Callable[[Row], Any]
"""What is given to the runnable for a row."""

COLUMNS = ("prompt", "input", "question", "query", "text")
"""Columns that a runnable which takes a text is given by default."""


def picker(column: str | None, *, needs_text: bool, first: Row | None) -> Pick:
    """What rows give a runnable.

    Args:
        column: the column to give. None: the whole row, or, to what needs a text, the only column
            or the one of :data:`COLUMNS`.
        needs_text: whether the runnable takes a text rather than a dict.
        first: the first row that can be read. None: there is none.

    Raises:
        BulkError: the first row has no such column, or it is not clear which one to give.
    """
    columns = list(first.values or ()) if first is not None else None
    if column is None and needs_text:
        column = _obvious(columns)
    if column is None:
        return lambda row: dict(row.values or ())
    if columns is not None and column not in columns:
        raise BulkError(f"input_column (--input): no column {column!r}; {_there_are(columns)}")
    wanted = column

    def pick(row: Row) -> Any:
        values = row.values or {}
        if wanted not in values:
            raise RowProblem(f"no column {wanted!r}")
        return values[wanted]

    return pick


def _obvious(columns: list[str] | None) -> str:
    if not columns:
        return COLUMNS[0]
    if len(columns) == 1:
        return columns[0]
    named = [column for column in columns if column.lower() in COLUMNS]
    if len(named) == 1:
        return named[0]
    raise BulkError(
        "this runnable takes a text: say which column it is in with input_column (--input); "
        + _there_are(columns)
    )


def _there_are(columns: list[str]) -> str:
    return "the columns are: " + ", ".join(map(repr, columns))
