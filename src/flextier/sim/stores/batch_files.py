"""The input of one batch, and its output and error files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, BinaryIO
from uuid import uuid4

from flextier.sim.behavior.batch_outcomes import OutputFile
from flextier.sim.stores.batch_input import parse
from flextier.sim.stores.files import FileStore, PendingFile, StoredFile

# Of the input file, in bytes: lines are read in any order.
BUFFER = 8 * 1024


class BatchFiles:
    """The files of one batch.

    Args:
        store: Where its input is, and where its output goes.
    """

    def __init__(self, store: FileStore) -> None:
        self.published: dict[str, str] = {}
        """The ids of the files that it ended with: ``output``, ``error``."""
        self._store = store
        self._source: StoredFile | None = None
        self._input: BinaryIO | None = None
        self._drafts: dict[OutputFile, PendingFile] = {}

    def hold(self, source: StoredFile) -> None:
        """Read from this file, which is kept until it is released."""
        self._source = source
        self._store.hold(source)

    def line(self, place: int) -> dict[str, Any]:
        """The line that begins at a place of the input file, parsed."""
        return parse(self.read(place)) or {}

    def read(self, place: int) -> bytes:
        """The line that begins at a place of the input file."""
        if self._source is None:
            raise RuntimeError("a batch has lines only after its validation")
        if self._input is None:
            self._input = self._source.path.open("rb", buffering=BUFFER)
        self._input.seek(place)
        return self._input.readline()

    def shut(self) -> None:
        """Close the input file until more of it is wanted: a forgotten batch leaves none open."""
        if self._input is not None:
            self._input.close()
            self._input = None

    def write(self, file: OutputFile, data: bytes) -> None:
        """Write to one of the two files."""
        if file not in self._drafts:
            self._drafts[file] = self._store.draft()
        self._drafts[file].write(data)

    def write_error(
        self, line: dict[str, Any], response: dict[str, Any] | None, error: dict[str, str] | None
    ) -> None:
        """Write the outcome of a line that failed."""
        self.write("error", encoded(line, response, error))

    def publish(self, batch: str, lifetime: int | None) -> None:
        """Make the files that were written readable, and release the input."""
        for kind, draft in self._drafts.items():
            name = f"{batch}_{kind}.jsonl"
            file = self._store.publish(draft, name, "batch_output", lifetime=lifetime)
            self.published[kind] = file.id
        self._drafts = {}
        self._release()

    def discard(self) -> None:
        """Drop what was written, and release the input."""
        self._release()
        for draft in self._drafts.values():
            draft.discard()
        self._drafts = {}

    def _release(self) -> None:
        self.shut()
        if self._source is not None:
            self._store.release(self._source)
            self._source = None


def encoded(
    line: dict[str, Any], response: Mapping[str, Any] | None, error: dict[str, str] | None = None
) -> bytes:
    """A line of an output or error file."""
    data = {
        "id": f"batch_req_{uuid4().hex}",
        "custom_id": line.get("custom_id"),
        "response": response,
        "error": error,
    }
    return json.dumps(data).encode() + b"\n"
