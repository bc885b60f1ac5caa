"""The journal's table of batches: each is in it before its file is uploaded."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from flextier.journal.process_locks import ProcessLocks

COLUMNS = (
    "tag",
    "base_url",
    "endpoint",
    "model",
    "lines",
    "owner",
    "sealed",
    "file_id",
    "batch_id",
    "status",
    "output_file_id",
    "error_file_id",
)
"""The columns of the table, as the fields of :class:`BatchRow`."""


@dataclass(frozen=True, slots=True)
class BatchRow:
    """A batch in the journal."""

    tag: str
    """The tag in its metadata, by which it is found again."""
    base_url: str
    endpoint: str
    model: str
    lines: int
    owner: int
    """The run that sends it."""
    sealed: float
    """When its lines were fixed, in seconds since the epoch."""
    file_id: str | None = None
    batch_id: str | None = None
    """None: it is unknown whether it was created."""
    status: str | None = None
    """At the last poll."""
    output_file_id: str | None = None
    error_file_id: str | None = None


class BatchTable:
    """The table of batches."""

    def __init__(
        self,
        transaction: Callable[..., AbstractContextManager[Callable[..., Any]]],
        owners: ProcessLocks,
        run: int,
    ) -> None:
        self._transaction = transaction
        self._owners = owners
        self._run = run

    def add(self, sql: Callable[..., Any], row: BatchRow) -> None:
        """Add a batch that is about to be sent."""
        marks = ", ".join("?" * len(COLUMNS))
        values = tuple(getattr(row, name) for name in COLUMNS)
        sql(f"INSERT INTO batches ({', '.join(COLUMNS)}) VALUES ({marks})", values)

    def get(self, tag: str) -> BatchRow | None:
        """A batch; None: the journal does not have it, or it was never created."""
        with self._transaction(mode="DEFERRED") as sql:
            columns = ", ".join(COLUMNS)
            row = sql(f"SELECT {columns} FROM batches WHERE tag = ?", (tag,)).fetchone()
        return None if row is None else BatchRow(*row)

    def all(self) -> list[BatchRow]:
        """All batches, the oldest first."""
        with self._transaction(mode="DEFERRED") as sql:
            columns = ", ".join(COLUMNS)
            rows = sql(f"SELECT {columns} FROM batches ORDER BY sealed").fetchall()
        return [BatchRow(*row) for row in rows]

    def note(self, tag: str, **facts: str | None) -> None:
        """Update fields of a batch: ``file_id``, ``batch_id``, ``status``, its output files.

        Raises:
            JournalError: it cannot be written.
        """
        columns = ", ".join(f"{name} = ?" for name in facts)
        with self._transaction(durable="batch_id" in facts) as sql:
            sql(f"UPDATE batches SET {columns} WHERE tag = ?", (*facts.values(), tag))

    def adopt(self, tag: str) -> bool:
        """Claim a batch whose owner has ended, to find out whether it was created.

        Returns:
            Whether this run owns the batch now.
        """
        with self._transaction() as sql:
            row = sql("SELECT owner FROM batches WHERE tag = ?", (tag,)).fetchone()
            if row is None or (row[0] != self._run and self._owners.alive(row[0])):
                return False
            sql("UPDATE batches SET owner = ? WHERE tag = ?", (self._run, tag))
            return True

    def has_output(self, sql: Callable[..., Any], tag: str) -> bool:
        """Whether the output file of a batch can be fetched again."""
        row = sql("SELECT output_file_id FROM batches WHERE tag = ?", (tag,)).fetchone()
        return row is not None and row[0] is not None
