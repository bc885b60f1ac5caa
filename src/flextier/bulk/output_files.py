"""The output and the errors file, written from the checkpoints: whole, or not at all."""

from __future__ import annotations

import csv
import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from flextier._utils.sqlite_file import CONTENT_ERRORS
from flextier.bulk.checkpoint_db import DONE, FAILED, CheckpointDB, storage_error
from flextier.bulk.errors import StorageError
from flextier.bulk.input_formats import InputSource, fingerprint, format_of
from flextier.bulk.options import RunOptions

_MAX_FINGERPRINTS = 4
"""Fingerprints that are stored of the last versions of a written file."""


def write_output(
    database: CheckpointDB,
    run_options: RunOptions,
    source: InputSource,
    input_version: int,
    done: int,
) -> None:
    """Write the output, of ``done`` rows; an error leaves an existing file unchanged."""

    def lines() -> Iterator[str]:
        return database.stored_lines(DONE, input_version, by_line=run_options.order == "input")

    def write(path: Path) -> None:
        output_format = format_of(run_options.output, "output")
        if (count := database.count(DONE, input_version)) != done:
            raise StorageError(
                f"{database.path} has {count} finished rows, but {done} were counted"
            )
        if output_format == "jsonl":
            _write_lines(path, lines())
        elif output_format == "csv":
            _write_csv(path, lines, _columns(lines, source, run_options))
        else:
            from flextier.bulk import parquet

            def objects() -> Iterator[dict[str, Any]]:
                return map(json.loads, lines())

            schema = getattr(source, "schema", None)
            types = None if schema is None else {field.name: field.type for field in schema}
            parquet.write(path, objects, _columns(lines, source, run_options), types)

    _replace(database, run_options, run_options.output, write)


def write_errors(
    database: CheckpointDB, run_options: RunOptions, input_version: int, failed: int
) -> None:
    """Write the errors file; if no row failed, remove an old one of this run."""

    def write(path: Path) -> None:
        _write_lines(path, database.stored_lines(FAILED, input_version, by_line=True))

    if failed:
        _replace(database, run_options, run_options.errors, write)
    elif is_own_file(database, run_options.errors):
        run_options.errors.unlink(missing_ok=True)


def is_own_file(database: CheckpointDB, path: Path) -> bool:
    """Whether this run wrote a file, and it is unchanged."""
    return path.is_file() and fingerprint(path) in (database.get_meta(f"wrote {path}") or [])


def write_part(database: CheckpointDB, part: Path, input_version: int) -> None:
    """Begin the part file with the rows that earlier starts have done."""
    try:
        _write_lines(part, database.stored_lines(DONE, input_version, by_line=False))
    except OSError as error:
        raise StorageError(f"{part} cannot be written: {error}") from error


def _columns(
    lines: Callable[[], Iterator[str]], source: InputSource, run_options: RunOptions
) -> list[str]:
    """The columns of the input, or else of all rows, and then the added ones."""
    columns: dict[str, None] = dict.fromkeys(source.columns or ())
    if source.columns is None:
        for line in lines():
            columns.update(dict.fromkeys(json.loads(line)))
    return [
        *(name for name in columns if name not in run_options.added_columns),
        *run_options.added_columns,
    ]


def _write_lines(path: Path, lines: Iterator[str]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)


def _write_csv(path: Path, lines: Callable[[], Iterator[str]], columns: Sequence[str]) -> None:
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(_UnixLines(file))
        writer.writerow(columns)
        for line in lines():
            values = json.loads(line)
            writer.writerow([_cell(values.get(name)) for name in columns])


@dataclass
class _UnixLines:
    """Ends records with ``\\n``; as csv's ``lineterminator`` it would leave ``\\r`` unquoted."""

    file: TextIO

    def write(self, record: str) -> None:
        self.file.write(f"{record[:-2]}\n")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _replace(
    database: CheckpointDB, run_options: RunOptions, path: Path, write: Callable[[Path], None]
) -> None:
    """Write a temporary file, sync it to the disk, and rename it to its path."""
    temporary = run_options.state_dir / f"{path.name}.tmp"
    if path.parent != run_options.output.parent:  # a rename must stay on one file system
        temporary = path.with_name(f".{path.name}.tmp")
    try:
        write(temporary)
        if path.exists():
            temporary.chmod(stat.S_IMODE(path.stat().st_mode))
        _sync(temporary)
        # Before the rename: after a kill between the two, the file still counts as the run's own.
        wrote = [*(database.get_meta(f"wrote {path}") or []), fingerprint(temporary)]
        database.set_meta({f"wrote {path}": wrote[-_MAX_FINGERPRINTS:]})
        temporary.replace(path)
        _sync(path.parent)
    except StorageError:
        raise
    except CONTENT_ERRORS as error:
        raise storage_error(database.path, error) from error
    except (OSError, ValueError, ArithmeticError) as error:
        raise StorageError(
            f"{path} cannot be written: {error}. All responses are in {run_options.state_dir}: fix "
            "that, and run the same again"
        ) from error
    finally:
        with suppress(OSError):  # the next start overwrites it
            temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot sync a directory
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
