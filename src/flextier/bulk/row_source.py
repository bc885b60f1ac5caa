"""The rows that are to be run, in the input's order, a chunk ahead of those under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from flextier.bulk.checkpoint_db import DONE, FAILED, CheckpointEntry, CheckpointWriter
from flextier.bulk.errors import InputError
from flextier.bulk.input_formats import InputSource
from flextier.bulk.options import RunOptions
from flextier.bulk.row import Identity, Row

_CHUNK = 500
"""Rows that are read and looked up together."""


class RowSource:
    """Reads the input, and leaves out what is finished.

    Args:
        source: the input.
        run_options: the run's options.
        keeper: who knows what is finished.
        seen: the version of the input.
        is_fresh: whether nothing is finished yet.
    """

    def __init__(
        self,
        source: InputSource,
        run_options: RunOptions,
        keeper: CheckpointWriter,
        seen: int,
        *,
        is_fresh: bool,
    ) -> None:
        self._rows: Iterator[Row] = source.rows()
        self._run_options = run_options
        self._keeper = keeper
        self._seen = seen
        # Without keys a row is known by its line, so none can come twice.
        self._is_new = is_fresh and run_options.key is None
        self._added = frozenset(run_options.added)
        self._broken: InputError | None = None
        self._begun: dict[Identity, int] = {}
        self.read = 0
        """Rows that were read."""
        self.skipped = {DONE: 0, FAILED: 0}
        """Rows that were finished before, by how."""
        self.is_at_end = False
        """Whether the whole input was read."""

    def finished(self, row: Row) -> None:
        """Set when a row was passed to the writer, or given up."""
        self._begun.pop(row.identity, None)

    async def __call__(self) -> AsyncIterator[Row]:
        """The rows to run; those with a problem are only reported.

        Raises:
            InputError: the input cannot be read any further.
            StorageError: what is finished cannot be looked up.
        """
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix="flextier-reader") as reader:
            ahead = loop.run_in_executor(reader, self._take)
            try:
                while chunk := await ahead:
                    ahead = loop.run_in_executor(reader, self._take)
                    self.read += len(chunk)
                    for row in await self._unfinished(chunk):
                        yield row
                self.is_at_end = True
            finally:
                await asyncio.wait([ahead])
                if not ahead.cancelled():
                    ahead.exception()  # it is known, or no longer of interest

    def _take(self) -> list[Row]:
        """The next rows. What breaks the input off is raised when those before it were taken."""
        if self._broken is not None:
            raise self._broken
        chunk: list[Row] = []
        try:
            chunk.extend(islice(self._rows, _CHUNK))
        except InputError as error:
            self._broken = error
        return chunk or ([] if self._broken is None else self._take())

    async def _unfinished(self, chunk: list[Row]) -> list[Row]:
        for row in chunk:
            self._register(row)
        if self._is_new:
            return chunk
        # Whatever is no longer under way was handed to the keeper before, so it is found.
        future = self._keeper.look_up([row.identity for row in chunk])
        known = await asyncio.wrap_future(future)
        return [row for row in chunk if not self._is_finished(row, known.get(row.identity))]

    def _register(self, row: Row) -> None:
        """Name a row, and see what is wrong with it before anything is spent on it."""
        if self._run_options.key is not None:
            row.name(self._run_options.key)
            first = self._begun.get(row.identity)
            if first is not None:
                self._repeats(row, first)
        for name in self._added.intersection(row.values or ()):
            row.problem = (
                f"there is a column {name!r} already: choose another with output_column "
                "(--output-column)"
            )
        self._begun[row.identity] = row.line

    def _repeats(self, row: Row, first: int) -> None:
        row.problem = f"line {row.line} has the same key {row.key!r} as line {first}"
        row.identity = row.by_place

    def _is_finished(self, row: Row, known: CheckpointEntry | None) -> bool:
        """Whether nothing is to be done for a row; if so it is counted."""
        if known is None:
            return False
        if (
            self._run_options.key is not None
            and known.seen == self._seen
            and known.line != row.line
        ):
            self.finished(row)
            self._repeats(row, known.line)
            return False
        if known.digest != row.digest:
            return False
        if known.state == FAILED and self._run_options.retry_errors:
            return False
        if (known.line, known.seen) != (row.line, self._seen):
            self._keeper.mark(row.line, self._seen, row.identity)
        self.skipped[known.state] += 1
        self.finished(row)
        return True
