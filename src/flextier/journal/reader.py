"""Looking into a journal without writing to it: for people, beside the programs that use it."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from flextier._utils.sqlite_file import open_read_only
from flextier.journal.batches import COLUMNS, BatchRow
from flextier.journal.errors import JournalError
from flextier.journal.records import unpacked
from flextier.journal.schema import check_version

_PARTS = ("", "-wal", "-shm", "-owners")
_ROWS = 500  # answers are large
STATES = ("asked", "batched", "background", "done")
"""What a call can be."""

Sql = Callable[..., Any]


class JournalReader:
    """A journal that is only looked at: also on a disk, or in a directory, that is read-only."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open a journal that is there.

        Raises:
            JournalError: there is none, or it cannot be read, or is another program's.
            NewerJournalError: a later flextier made it.
        """
        self.path = os.fspath(path)
        if not os.path.isfile(self.path):
            raise JournalError(f"there is no journal {self.path}")
        try:
            self._connection = open_read_only(self.path)
        except (OSError, sqlite3.Error) as error:
            raise JournalError(f"the journal {self.path} cannot be read: {error}") from error
        try:
            check_version(self._connection, self.path)
        except BaseException:
            self.close()
            raise

    def counts(self) -> dict[str, int]:
        """How many calls are ``asked``, ``batched``, in the ``background`` and ``done``."""
        return counts(self._sql)

    def answers(self) -> tuple[int, float | None, float | None]:
        """How many calls have their answer here, and when the first and the last were answered."""
        row = self._sql(
            "SELECT count(answer), min(at), max(at) FROM calls WHERE state = 'done'"
        ).fetchone()
        return row[0], row[1], row[2]

    def batches(self) -> list[tuple[BatchRow, int]]:
        """The batches with lines that have no answer yet, the oldest first, and how many these
        are."""
        columns = ", ".join(f"b.{name}" for name in COLUMNS)
        rows = self._sql(
            f"SELECT {columns}, count(c.id) FROM batches b "
            "JOIN calls c ON c.tag = b.tag AND c.state = 'batched' "
            "GROUP BY b.tag ORDER BY b.sealed"
        ).fetchall()
        return [(BatchRow(*row[:-1]), row[-1]) for row in rows]

    def size(self) -> int:
        """Bytes on disk, with the files beside it."""
        parts = (Path(f"{self.path}{part}") for part in _PARTS)
        return sum(part.stat().st_size for part in parts if part.is_file())

    def export(self, out: IO[str]) -> int:
        """As :meth:`flextier.journal.Journal.export`."""
        return export(self._sql, out)

    def _sql(self, statement: str, values: tuple[Any, ...] = ()) -> Any:
        try:
            return self._connection.execute(statement, values)
        except sqlite3.Error as error:
            raise JournalError(f"the journal {self.path} cannot be read: {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> JournalReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def counts(sql: Sql) -> dict[str, int]:
    """How many calls are in each state."""
    rows = sql("SELECT state, count(*) FROM calls GROUP BY state").fetchall()
    return {**dict.fromkeys(STATES, 0), **dict(rows)}


def export(sql: Sql, out: IO[str]) -> int:
    """Write what was answered as JSONL; how many lines."""
    written = 0
    for entry in _answered(sql):
        out.write(json.dumps(entry, ensure_ascii=False) + "\n")
        written += 1
    return written


def _answered(sql: Sql) -> Iterator[dict[str, Any]]:
    last = 0
    # Or the end would go on ahead of us, where programs are answered faster than we write.
    (end,) = sql("SELECT max(id) FROM calls").fetchone()
    while True:
        rows = sql(
            "SELECT id, key, n, model, lane, status, request_id, at, digest, answer FROM calls "
            "WHERE state = 'done' AND id > ? AND id <= ? ORDER BY id LIMIT ?",
            (last, end, _ROWS),
        ).fetchall()
        if not rows:
            return
        for last, key, n, model, lane, status, request_id, at, digest, answer in rows:  # noqa: B007
            yield {
                "key": key.hex(),
                "n": n,
                "model": model,
                "lane": lane,
                "status": status,
                "request_id": request_id,
                "at": at,
                "digest": None if digest is None else digest.hex(),
                "answer": None if answer is None else json.loads(unpacked(answer)),
            }
