"""Which processes that write to a journal are alive: each locks a byte of ``JOURNAL-owners``.

The system releases the lock when the process ends, however it ends, and not before: a process that
was suspended for an hour keeps its claims.
"""

from __future__ import annotations

import os
import sys

from flextier._utils.fork import after_fork_in_child

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int, byte: int) -> None:
        os.lseek(descriptor, byte, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def _unlock(descriptor: int, byte: int) -> None:
        os.lseek(descriptor, byte, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int, byte: int) -> None:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)

    def _unlock(descriptor: int, byte: int) -> None:
        fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, byte)


class ProcessLocks:
    """The locks of one journal."""

    def __init__(self, path: str) -> None:
        self._file = os.open(f"{path}-owners", os.O_RDWR | os.O_CREAT, 0o600)
        self._own: set[int] = set()

    def is_at(self, path: str) -> bool:
        """Whether the open file is still the one at the path: it may have been removed."""
        try:
            return os.path.samestat(os.fstat(self._file), os.stat(f"{path}-owners"))
        except FileNotFoundError:
            return False

    def begin(self, run: int) -> None:
        """Lock the byte of a run of this process."""
        _lock(self._file, run)
        self._own.add(run)

    def alive(self, run: int) -> bool:
        """Whether the process of a run is alive."""
        if run in self._own:
            return True
        try:
            _lock(self._file, run)
        except OSError:
            return True
        _unlock(self._file, run)
        return False

    def end(self, run: int) -> None:
        """Unlock the byte of a run of this process."""
        self._own.discard(run)
        _unlock(self._file, run)


# POSIX drops all locks of a process on a file when it closes any descriptor of it: so each file has
# one descriptor, which stays open.
_OPEN: dict[str, ProcessLocks] = {}


def process_locks_at(path: str) -> ProcessLocks:
    """The locks of the journal at a path; an OSError if their file cannot be opened."""
    real = os.path.realpath(path)
    owners = _OPEN.get(real)
    if owners is None or not owners.is_at(real):
        owners = _OPEN[real] = ProcessLocks(real)
    return owners


after_fork_in_child(_OPEN.clear)  # a child process does not inherit the locks
