"""Writing a report to a file, which is replaced atomically, or to standard output."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from flextier._utils import atomic_file

_SUFFIXES = ("", "-wal", "-shm", "-journal")
"""Suffixes of the files of a SQLite database."""


def is_terminal(output: str | None) -> bool:
    """Whether the output goes to a terminal."""
    return output is None and sys.stdout is not None and sys.stdout.isatty()


def refuse_database(output: str, ledger: Path | None) -> None:
    """Check, before the report is made, that the output would not overwrite a database.

    Args:
        output: the file to write.
        ledger: the ledger's file. None: PostgreSQL.

    Raises:
        ValueError: the output is the ledger, one of the files beside it, or a SQLite database.
        OSError: it cannot be read.
    """
    path = Path(output)
    if ledger is not None and any(_is_same(path, one) for one in _files_of(ledger)):
        raise ValueError(f"--output {output} is the ledger itself, or a file that belongs to it")
    atomic_file.refuse_database(output)


def _files_of(ledger: Path) -> list[Path]:
    paths = {ledger, ledger.resolve()}  # SQLite follows links: the files are beside the target
    return [path.with_name(f"{path.name}{suffix}") for path in paths for suffix in _SUFFIXES]


def _is_same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except FileNotFoundError:  # -wal and -shm come and go
        return path.resolve() == other.resolve()


def write(text: str, output: str | None) -> None:
    """Write to a file, or to standard output, whose reader may close it early.

    Raises:
        OSError: the output cannot be written; an existing file is unchanged.
    """
    if output is None:
        _print(text)
        return
    with atomic_file.atomic_write(output, private=False) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def _print(text: str) -> None:
    if sys.stdout is None:
        raise OSError(0, "it is closed")
    # Characters that the terminal's encoding lacks are escaped.
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except OSError as error:
        discard_stdout()
        if not isinstance(error, BrokenPipeError):  # as of `| head`
            raise


def discard_stdout() -> None:
    """Discard what is left for standard output, which cannot be written.

    Python flushes the buffer again at exit, which would fail and change the exit status.
    """
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
