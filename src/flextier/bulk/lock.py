"""One run at a time works on an output."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flextier.bulk.errors import InUseError, StorageError

if sys.platform == "win32":
    import msvcrt

    def _take(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _take(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def locked(path: Path, output: Path) -> Iterator[None]:
    """Hold a lock file; the system lets go of it with the process, however that ends.

    Raises:
        InUseError: another process, or another run of this one, holds it.
        StorageError: it cannot be opened.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StorageError(f"{path} cannot be opened: {error}") from error
    try:
        try:
            _take(handle)
        except OSError:
            raise InUseError(f"another run works on {output} (it holds {path})") from None
        yield
    finally:
        os.close(handle)
