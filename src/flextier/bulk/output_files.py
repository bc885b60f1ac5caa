"""The output and the errors file, written from what was kept: whole, or not at all."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from flextier.bulk.checkpoint_db import DONE, FAILED, CheckpointDB
from flextier.bulk.errors import StorageError
from flextier.bulk.input_formats import InputSource, fingerprint, format_of
from flextier.bulk.options import RunOptions

_KEPT = 4
"""How many fingerprints of files that a run wrote are kept."""


def write_output(
    state: CheckpointDB, run_options: RunOptions, source: InputSource, seen: int, done: int
) -> None:
    """Put the output in its place.

    Args:
        state: where the rows are kept.
        run_options: the run's options.
        source: its input.
        seen: the version of the input.
        done: how many rows the output must have.

    Raises:
        StorageError: it cannot be written, or would lose rows; the existing file is unchanged.
    """

    def lines() -> Iterator[str]:
        return state.stored_lines(DONE, seen, by_line=run_options.order == "input")

    def write(path: Path) -> None:
        kind = format_of(run_options.output, "output")
        count = _Counted(lines)
        if kind == "jsonl":
            _write_lines(path, count())
        elif kind == "csv":
            _write_csv(path, count, _columns(lines, source, run_options))
        else:
            from flextier.bulk import parquet

            known = getattr(source, "schema", None)
            types = None if known is None else {field.name: field.type for field in known}
            parquet.write(path, count.objects, _columns(lines, source, run_options), types)
        if count.last != done:
            raise StorageError(f"{state.path} has {count.last} answers, and {done} were counted")

    _put(state, run_options, run_options.output, write)


def write_errors(state: CheckpointDB, run_options: RunOptions, seen: int, failed: int) -> None:
    """Put the errors file in its place, or take away an old one of this run.

    Raises:
        StorageError: it cannot be written.
    """
    if failed:
        _put(
            state,
            run_options,
            run_options.errors,
            lambda path: _write_lines(path, state.stored_lines(FAILED, seen, by_line=True)),
        )
    elif is_ours(state, run_options.errors):
        run_options.errors.unlink(missing_ok=True)


def is_ours(state: CheckpointDB, path: Path) -> bool:
    """Whether a file is as this run has written it."""
    return path.is_file() and fingerprint(path) in (state.fact(f"wrote {path}") or [])


def write_part(state: CheckpointDB, part: Path, seen: int) -> None:
    """Begin the file of results so far with what an earlier start has done.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        _write_lines(part, state.stored_lines(DONE, seen, by_line=False))
    except OSError as error:
        raise StorageError(f"{part} cannot be written: {error}") from error


class _Counted:
    """Gives lines, and says how many the last time were."""

    def __init__(self, lines: Callable[[], Iterator[str]]) -> None:
        self._lines = lines
        self.last = 0

    def __call__(self) -> Iterator[str]:
        self.last = 0
        for line in self._lines():
            self.last += 1
            yield line

    def objects(self) -> Iterator[dict[str, Any]]:
        """Them as objects."""
        return map(json.loads, self())


def _columns(
    lines: Callable[[], Iterator[str]], source: InputSource, run_options: RunOptions
) -> list[str]:
    """The input's columns, where need be those of all rows, and the added ones."""
    columns: dict[str, None] = dict.fromkeys(source.columns or ())
    if source.columns is None:
        for line in lines():
            columns.update(dict.fromkeys(json.loads(line)))
    return [*(name for name in columns if name not in run_options.added), *run_options.added]


def _write_lines(path: Path, lines: Iterator[str]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)


def _write_csv(path: Path, lines: Callable[[], Iterator[str]], columns: Sequence[str]) -> None:
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(_Unix(file))
        writer.writerow(columns)
        for line in lines():
            values = json.loads(line)
            writer.writerow([_cell(values.get(name)) for name in columns])


class _Unix:
    """Ends lines with ``\\n``. The writer must not know: it would leave a lone ``\\r`` unquoted."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, record: str) -> None:
        self._file.write(f"{record[:-2]}\n")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _put(
    state: CheckpointDB, run_options: RunOptions, path: Path, write: Callable[[Path], None]
) -> None:
    """Write a file beside its place, make sure that it is on the disk, and put it there."""
    near = path.parent == run_options.output.parent  # a rename does not cross file systems
    beside = run_options.state / f"{path.name}.tmp" if near else path.with_name(f".{path.name}.tmp")
    try:
        write(beside)
        if path.exists():
            beside.chmod(stat.S_IMODE(path.stat().st_mode))
        _sync(beside)
        # Before it is there: killed between the two, the run still knows the file as its own.
        wrote = [*(state.fact(f"wrote {path}") or []), fingerprint(beside)]
        state.set_facts({f"wrote {path}": wrote[-_KEPT:]})
        beside.replace(path)
        _sync(path.parent)
    except StorageError:
        raise
    except (OSError, ValueError, ArithmeticError, sqlite3.Error) as error:
        raise StorageError(
            f"{path} cannot be written: {error}. All answers are kept in {run_options.state}: run "
            "the same again when that is fixed"
        ) from error
    finally:
        _forget(beside)


def _forget(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # the disk is in a state; the next start writes over it
        return


def _sync(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return  # which knows no such thing
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
