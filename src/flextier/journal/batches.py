"""The journal's table of batches: each is in it before its file is uploaded."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from flextier.journal.process_locks import ProcessLocks


class BatchRow(NamedTuple):
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


COLUMNS = ", ".join(BatchRow._fields)
"""The columns of the table."""


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
        marks = ", ".join("?" * len(row))
        sql(f"INSERT INTO batches ({COLUMNS}) VALUES ({marks})", row)

    def get(self, tag: str) -> BatchRow | None:
        """A batch; None: the journal does not have it, or it was never created."""
        with self._transaction(mode="DEFERRED") as sql:
            row = sql(f"SELECT {COLUMNS} FROM batches WHERE tag = ?", (tag,)).fetchone()
        return None if row is None else BatchRow(*row)

    def note(self, tag: str, **facts: str | None) -> None:
        """Update fields of a batch: ``file_id``, ``batch_id``, ``status``, its output files."""
        columns = ", ".join(f"{name} = ?" for name in facts)
        with self._transaction(durable="batch_id" in facts) as sql:
            sql(f"UPDATE batches SET {columns} WHERE tag = ?", (*facts.values(), tag))

    def adopt(self, tag: str) -> bool:
        """Claim a batch whose owner has ended, to find out whether it was created; return whether
        this run owns it now."""
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
