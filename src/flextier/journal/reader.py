"""Read-only access to a journal, also while programs use it: counts, batches, export."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from flextier._utils.sqlite_file import CONTENT_ERRORS, open_read_only
from flextier.journal.batches import BatchRow
from flextier.journal.errors import JournalError, journal_error
from flextier.journal.schema import check_version

_SUFFIXES = ("", "-wal", "-shm", "-owners")
_CHUNK = 500  # responses are large
_EXPORTED = (
    "key", "n", "model", "lane", "status", "request_id", "at", "digest", "answer",
)  # fmt: skip
_STATES = ("asked", "batched", "background", "done")
"""The states of a call in the file."""


class JournalReader:
    """A journal opened read-only; it may be on a read-only disk or in a read-only directory."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open an existing journal; a JournalError if there is none, or it cannot be read."""
        self.path = os.fspath(path)
        if not os.path.isfile(self.path):
            raise JournalError(f"there is no journal {self.path}")
        try:
            self._connection = open_read_only(self.path)
        except (OSError, *CONTENT_ERRORS) as error:
            raise journal_error(self.path, error, "read") from error
        try:
            check_version(self._connection, self.path)
        except BaseException:
            self.close()
            raise

    def counts(self) -> dict[str, int]:
        """The number of calls by state: ``asked``, ``batched``, ``background``, ``done``."""
        rows = self._sql("SELECT state, count(*) FROM calls GROUP BY state")
        return {**dict.fromkeys(_STATES, 0), **dict(rows)}

    def answers(self) -> tuple[int, float | None, float | None]:
        """How many responses are stored, and when the first and the last call were served."""
        query = "SELECT count(answer), min(at), max(at) FROM calls WHERE state = 'done'"
        ((count, first, last),) = self._sql(query)
        return count, first, last

    def batches(self) -> list[tuple[BatchRow, int]]:
        """The batches with unfinished lines, the oldest first, and the number of these lines."""
        columns = ", ".join(f"b.{name}" for name in BatchRow._fields)
        rows = self._sql(
            f"SELECT {columns}, count(c.id) FROM batches b "
            "JOIN calls c ON c.tag = b.tag AND c.state = 'batched' "
            "GROUP BY b.tag ORDER BY b.sealed"
        )
        return [(BatchRow(*row[:-1]), row[-1]) for row in rows]

    def size(self) -> int:
        """Bytes on disk, SQLite's other files included."""
        parts = (Path(f"{self.path}{part}") for part in _SUFFIXES)
        return sum(part.stat().st_size for part in parts if part.is_file())

    def export(self, out: IO[str]) -> int:
        """As :meth:`flextier.journal.Journal.export`."""
        written = 0
        for call in self._done_calls():
            out.write(json.dumps(call, ensure_ascii=False) + "\n")
            written += 1
        return written

    def _done_calls(self) -> Iterator[dict[str, Any]]:
        last_id = 0
        # Fixed now: or the export would not end where calls are served faster than it writes.
        ((end,),) = self._sql("SELECT max(id) FROM calls")
        columns = ", ".join(_EXPORTED)
        query = (
            f"SELECT id, {columns} FROM calls WHERE state = 'done' AND id > ? AND id <= ? "
            "ORDER BY id LIMIT ?"
        )
        while rows := self._sql(query, (last_id, end, _CHUNK)):
            for row in rows:
                last_id, *values = row
                call = dict(zip(_EXPORTED, values, strict=True))
                call["key"] = call["key"].hex()
                call["digest"] = None if call["digest"] is None else call["digest"].hex()
                try:
                    if (stored := call["answer"]) is not None:
                        call["answer"] = json.loads(zlib.decompress(stored))
                except CONTENT_ERRORS as error:
                    raise journal_error(self.path, error) from error
                yield call

    def _sql(self, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        try:
            return self._connection.execute(statement, values).fetchall()
        except CONTENT_ERRORS as error:
            raise journal_error(self.path, error, "read") from error

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> JournalReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
