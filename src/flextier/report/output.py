"""Where a report goes: a file, which is replaced as a whole, or standard output."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from uuid import uuid4

_SQLITE = b"SQLite format 3"
_BESIDE = ("", "-wal", "-shm", "-journal")
"""A SQLite file itself, and what the names of those that belong to it end with."""


def is_terminal(output: str | None) -> bool:
    """Whether a person looks at what is written."""
    return output is None and sys.stdout is not None and sys.stdout.isatty()


def refuse(output: str, ledger: Path | None) -> None:
    """Make sure that no database is overwritten.

    Args:
        output: the file that is to be written.
        ledger: the ledger's file. None: it is in no file.

    Raises:
        ValueError: the output is the ledger, one of the files beside it, or a SQLite database.
        OSError: it cannot be looked at.
    """
    path = Path(output)
    if ledger is not None and any(_is_same(path, one) for one in _files_of(ledger)):
        raise ValueError(f"--output {output} is the ledger itself, or a file that belongs to it")
    if path.is_file():
        with path.open("rb") as file:
            if file.read(len(_SQLITE)) == _SQLITE:
                raise ValueError(f"--output {output} is a SQLite database: name another file")


def _files_of(ledger: Path) -> list[Path]:
    places = {ledger, ledger.resolve()}  # SQLite follows links: the files are beside the target
    return [place.with_name(f"{place.name}{end}") for place in places for end in _BESIDE]


def _is_same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except FileNotFoundError:  # -wal and -shm come and go
        return path.resolve() == other.resolve()


def write(text: str, output: str | None) -> None:
    """Write to a file, or to standard output, whose reader may close it early.

    A file is written beside its place and then put there: a reader finds the old one or
    the new one. What is no file, such as a pipe or a device, is written to as it is.

    Raises:
        OSError: that cannot be done; a file that was there is as it was.
    """
    if output is None:
        _print(text)
        return
    path = Path(output)
    content = text.encode("utf-8", "backslashreplace")
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    path = path.resolve()  # a link stays one
    beside = path.with_name(f".flextier-{uuid4().hex}.tmp")
    try:
        with beside.open("xb") as file:
            file.write(content)
        if path.exists():
            beside.chmod(stat.S_IMODE(path.stat().st_mode))
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _print(text: str) -> None:
    if sys.stdout is None:
        raise OSError(0, "it is closed")
    # What the terminal's encoding has no sign for must not end the report.
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except OSError as error:
        # What is left in the buffer would fail again when the process ends, and change its status.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        if not isinstance(error, BrokenPipeError):  # `| head` has seen enough
            raise
