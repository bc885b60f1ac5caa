"""Input formats: JSON lines, CSV and Parquet files, streamed a row at a time."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, Protocol

from flextier.bulk.errors import BulkError, InputError
from flextier.bulk.row import Row, unique_columns

FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_MAX_FIELD = 64 * 2**20
"""Bytes of a CSV field: a quote that is never closed must not read the whole file into one."""


class InputSource(Protocol):
    """An input file."""

    columns: tuple[str, ...] | None
    """The columns of all rows; None: each row has its own."""

    def rows(self) -> Iterator[Row]:
        """The rows, from the first; unreadable ones with their problem.

        Raises:
            InputError: it cannot be read to its end.
        """

    def count(self) -> int:
        """The number of rows, unreadable ones included."""


def format_of(path: Path, what: str) -> str:
    """The format of a file, by its suffix; a BulkError if that is unknown."""
    found = FORMATS.get(path.suffix.lower())
    if found is None:
        raise BulkError(f"{what} {path}: name it .jsonl, .csv or .parquet")
    return found


def source_of(path: Path) -> InputSource:
    """The reader of an input file; a BulkError if it is none, or has no known format."""
    input_format = format_of(path, "input")
    if not path.is_file():
        raise BulkError(f"input {path}: no such file")
    if input_format == "parquet":
        from flextier.bulk.parquet import ParquetSource

        return ParquetSource(path)
    return CsvSource(path) if input_format == "csv" else JsonLines(path)


def fingerprint(path: Path) -> list[int]:
    """Size and modification time (nanoseconds) of a file, which change when its content does."""
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


# --- JSON lines -------------------------------------------------------------------------------


def _reject_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_reject_constant)


class JsonLines:
    """A JSON object a line; empty lines are skipped."""

    columns: tuple[str, ...] | None = None

    def __init__(self, path: Path) -> None:
        self._path = path

    def rows(self) -> Iterator[Row]:
        """One row for each line."""
        try:
            with self._path.open("rb") as file:
                for number, content in enumerate(file, 1):
                    stripped = content.strip()
                    if stripped:
                        yield _json_row(number, stripped)
        except OSError as error:
            raise InputError(f"input {self._path}: {error}") from error

    def count(self) -> int:
        """Lines that are not empty."""
        with self._path.open("rb") as file:
            return sum(1 for line in file if not line.isspace())


def _json_row(line: int, content: bytes) -> Row:
    try:
        text = content.decode("utf-8-sig" if line == 1 else "utf-8")
        values: Any = _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        problem = f"not JSON: {error}"
    else:
        if isinstance(values, dict):
            return Row(line, values, content, text=text)
        problem = f"not an object, but a {type(values).__name__}"
    shown = content.decode("utf-8", "backslashreplace")
    return Row(line, None, content, text=shown, problem=problem)


# --- CSV --------------------------------------------------------------------------------------


class CsvSource:
    """A header and records, separated by commas, quoted by double quotes; all values are text."""

    columns: tuple[str, ...] | None

    def __init__(self, path: Path) -> None:
        self._path = path
        csv.field_size_limit(max(csv.field_size_limit(), _MAX_FIELD))
        for _, fields, problem in _records(path):
            if problem is not None:
                raise BulkError(f"input {path}: the header cannot be read: {problem}")
            self.columns = unique_columns(path, fields)
            return
        raise BulkError(f"input {path} is empty: a CSV file begins with its column names")

    def rows(self) -> Iterator[Row]:
        """One row for each record; its line is the one that it begins on."""
        names = self.columns or ()
        try:
            records = _records(self._path)
            next(records)
            for line, fields, problem in records:
                yield _csv_row(line, names, fields, problem)
        except OSError as error:
            raise InputError(f"input {self._path}: {error}") from error

    def count(self) -> int:
        """The number of records after the header."""
        return sum(1 for _ in _records(self._path)) - 1


def _records(path: Path) -> Iterator[tuple[int, list[str], str | None]]:
    """The line that each record begins on, its fields, and its problem."""
    # Bytes that are not UTF-8 become lone surrogates, which valid text never has.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        # strict: a quote that is not closed at the end of the file is an error, not a field.
        reader = csv.reader(file, strict=True)
        while True:
            line = reader.line_num + 1
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield line, [], f"not CSV: {error}"
                continue
            if fields:
                yield line, fields, None


def _csv_row(line: int, names: tuple[str, ...], fields: list[str], problem: str | None) -> Row:
    text = "\x1f".join(fields)
    if problem is None and len(fields) != len(names):
        problem = f"{len(fields)} fields, but {len(names)} columns"
    try:
        content = text.encode()
    except UnicodeEncodeError:
        content = text.encode("utf-8", "surrogateescape")
        problem = problem or "not UTF-8"
    if problem is not None:
        shown = (
            ",".join(fields).encode("utf-8", "surrogateescape").decode(errors="backslashreplace")
        )
        return Row(line, None, content, text=shown, problem=problem)
    return Row(line, dict(zip(names, fields, strict=True)), content)
