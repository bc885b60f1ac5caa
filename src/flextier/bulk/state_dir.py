"""The directory ``OUTPUT.run``: its lock, and whether it belongs to this run."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from flextier.bulk.checkpoint_db import CheckpointDB, storage_error
from flextier.bulk.errors import BulkError, InUseError, StorageError
from flextier.bulk.options import RunOptions
from flextier.bulk.output_files import is_own_file
from flextier.journal.reader import JournalReader

if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def locked(path: Path, output: Path) -> Iterator[None]:
    """Hold a lock file inside; the system releases it when the process ends, however it ends.

    An InUseError: another process, or another run of this one, holds it.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StorageError(f"{path} cannot be opened: {error}") from error
    try:
        try:
            _lock(handle)
        except OSError:
            raise InUseError(f"another run works on {output} (it holds {path})") from None
        yield
    finally:
        os.close(handle)


def create_state_dir(run_options: RunOptions) -> None:
    """Create the directory; a BulkError if the run is new, and its output or errors file exists."""
    if not run_options.overwrite and not run_options.state_dir.is_dir():
        for path in (run_options.output, run_options.errors):
            if path.exists():
                raise _exists(path)
    try:
        run_options.state_dir.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{run_options.state_dir} cannot be created: {error}") from error


def _exists(path: Path) -> BulkError:
    return BulkError(f"{path} exists, and this run did not write it: overwrite=True (--overwrite)")


def other_run(run_options: RunOptions, settings: dict[str, Any]) -> BulkError:
    """The error for a directory of a run with other settings."""
    shown = ", ".join(f"{name}={value!r}" for name, value in settings.items())
    return BulkError(
        f"{run_options.state_dir} belongs to another run, with {shown}: repeat that run, "
        "choose another output, or discard it with overwrite=True (--overwrite)"
    )


def _has_submitted(run_options: RunOptions) -> bool:
    """Whether calls of earlier starts go on without a program, or wait to be collected."""
    path = run_options.state_dir / "journal.db"
    if not path.is_file():
        return False
    with JournalReader(path) as journal:
        counts = journal.counts()
    return bool(counts["batched"] or counts["background"])


def check_settings(run_options: RunOptions, label: str) -> None:
    """Compare the settings with earlier starts'; with ``overwrite``, discard another run."""
    rows_db = run_options.state_dir / "rows.db"
    settings = {"runnable": label, **run_options.settings}
    with closing(CheckpointDB(rows_db)) as database:
        # Without a finished row or a submitted call there is nothing to lose: any are accepted.
        is_new = database.is_empty and not _has_submitted(run_options)
        before = {} if is_new else database.get_meta("settings")
        if before is None:
            raise storage_error(rows_db, sqlite3.DatabaseError("no settings"))
        changed = [name for name in before if before[name] != settings.get(name)]
        if not changed:
            if not before:
                database.set_meta({"settings": settings})
            for path in (run_options.output, run_options.errors):
                if path.exists() and not run_options.overwrite and not is_own_file(database, path):
                    raise _exists(path)
            return
    if not run_options.overwrite:
        raise other_run(run_options, {name: before[name] for name in changed})
    for name in ("rows.db", "rows.db-wal", "rows.db-shm"):
        (run_options.state_dir / name).unlink(missing_ok=True)
    for path in run_options.state_dir.glob("journal.db*"):
        path.unlink()
    with closing(CheckpointDB(rows_db)) as database:
        database.set_meta({"settings": settings})
