"""Writing a report to a file, which is replaced atomically, or to standard output."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from uuid import uuid4

_SQLITE = b"SQLite format 3"
_SUFFIXES = ("", "-wal", "-shm", "-journal")
"""Suffixes of the files of a SQLite database."""


def is_terminal(output: str | None) -> bool:
    """Whether the output goes to a terminal."""
    return output is None and sys.stdout is not None and sys.stdout.isatty()


def refuse_database(output: str, ledger: Path | None) -> None:
    """Check that the output would not overwrite a database.

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
    if path.is_file():
        with path.open("rb") as file:
            if file.read(len(_SQLITE)) == _SQLITE:
                raise ValueError(f"--output {output} is a SQLite database: name another file")


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

    A file is replaced atomically. A pipe or a device is written to directly.

    Raises:
        OSError: the output cannot be written; an existing file is unchanged.
    """
    if output is None:
        _print(text)
        return
    path = Path(output)
    content = text.encode("utf-8", "backslashreplace")
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    path = path.resolve()  # a symbolic link stays one
    temporary = path.with_name(f".flextier-{uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
        if path.exists():
            temporary.chmod(stat.S_IMODE(path.stat().st_mode))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _print(text: str) -> None:
    if sys.stdout is None:
        raise OSError(0, "it is closed")
    # Characters that the terminal's encoding lacks are escaped.
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except OSError as error:
        # Python flushes the buffer again at exit, which would fail and change the exit status.
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())
        os.close(devnull)
        if not isinstance(error, BrokenPipeError):  # as of `| head`
            raise
