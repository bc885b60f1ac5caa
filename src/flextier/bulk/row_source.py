"""The rows to run, in the input's order, read a chunk ahead; finished rows are left out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from flextier.bulk.checkpoint_db import DONE, FAILED, CheckpointWriter, FinishedRow
from flextier.bulk.errors import BulkError, InputError
from flextier.bulk.input_formats import InputSource
from flextier.bulk.options import RunOptions
from flextier.bulk.row import Identity, Row, listed, taken

_CHUNK = 500
"""Rows that are read and looked up together."""


def first_readable_row(source: InputSource) -> Row | None:
    """The first readable row among the first thousand."""
    return next((row for row in islice(source.rows(), 1000) if row.problem is None), None)


def check_columns(run_options: RunOptions, first: Row | None) -> None:
    """Check that the first row has the key column, and none that the output adds."""
    if first is None or first.values is None:
        return
    if run_options.key is not None and run_options.key not in first.values:
        raise BulkError(f"key (--key): no column {run_options.key!r}; {listed(first.values)}")
    for name in run_options.added_columns:
        if name in first.values:
            raise BulkError(f"the input has {taken(name)}")


@dataclass
class RowSource:
    """Reads the input, and leaves out finished rows."""

    source: InputSource
    run_options: RunOptions
    writer: CheckpointWriter
    """Looks up finished rows."""
    input_version: int
    is_fresh: bool
    """Whether no row is finished yet."""
    read: int = 0
    """Rows that were read."""
    is_at_end: bool = False
    """Whether the whole input was read."""

    def __post_init__(self) -> None:
        self.skipped = {DONE: 0, FAILED: 0}
        """Rows that an earlier start finished, by state."""
        self._rows: Iterator[Row] = self.source.rows()
        self._key = self.run_options.key
        self._added_columns = frozenset(self.run_options.added_columns)
        self._read_error: InputError | None = None
        self._lines_in_flight: dict[Identity, int] = {}

    def release(self, row: Row) -> None:
        """Note that a row is no longer in flight: it was passed to the writer, or abandoned."""
        self._lines_in_flight.pop(row.identity, None)

    async def __call__(self) -> AsyncIterator[Row]:
        """The rows to run; a row with a problem is only to be reported."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix="flextier-reader") as reader:
            ahead = loop.run_in_executor(reader, self._read_chunk)
            try:
                while chunk := await ahead:
                    ahead = loop.run_in_executor(reader, self._read_chunk)
                    self.read += len(chunk)
                    for row in await self._unfinished(chunk):
                        yield row
                self.is_at_end = True
            finally:
                await asyncio.wait([ahead])
                if not ahead.cancelled():
                    ahead.exception()  # raised above already, or no longer of interest

    def _read_chunk(self) -> list[Row]:
        """The next rows. An error is raised only after the rows before it were returned."""
        if self._read_error is not None:
            raise self._read_error
        chunk: list[Row] = []
        try:
            chunk.extend(islice(self._rows, _CHUNK))
        except InputError as error:
            self._read_error = error
        return chunk or ([] if self._read_error is None else self._read_chunk())

    async def _unfinished(self, chunk: list[Row]) -> list[Row]:
        for row in chunk:  # its problems are found before it costs anything
            self._identify(row)
        if self.is_fresh and self._key is None:  # a row's identity is its line: none comes twice
            return chunk
        # A row that is no longer in flight was passed to the writer before, so it is found.
        future = self.writer.look_up([row.identity for row in chunk])
        finished = await asyncio.wrap_future(future)
        return [row for row in chunk if not self._skips(row, finished.get(row.identity))]

    def _identify(self, row: Row) -> None:
        if self._key is not None:
            row.identify_by(self._key)
            first_line = self._lines_in_flight.get(row.identity)
            if first_line is not None:
                self._mark_duplicate(row, first_line)
        for name in self._added_columns.intersection(row.values or ()):
            row.problem = f"there is {taken(name)}"
        self._lines_in_flight[row.identity] = row.line

    def _mark_duplicate(self, row: Row, first_line: int) -> None:
        row.problem = f"line {row.line} has the same key {row.key!r} as line {first_line}"
        row.identity = row.line_identity

    def _skips(self, row: Row, finished: FinishedRow | None) -> bool:
        """Whether a row is finished already; if so, count it."""
        if finished is None:
            return False
        same_line = finished.line == row.line
        same_version = finished.input_version == self.input_version
        if self._key is not None and same_version and not same_line:
            self.release(row)
            self._mark_duplicate(row, finished.line)
            return False
        is_retried = finished.state == FAILED and self.run_options.retry_errors
        if finished.digest != row.digest or is_retried:
            return False
        if not (same_line and same_version):
            self.writer.mark_seen(row.line, self.input_version, row.identity)
        self.skipped[finished.state] += 1
        self.release(row)
        return True
