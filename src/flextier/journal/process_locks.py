"""Which processes that write to a journal are alive: each locks a byte of a file beside it.

The system lets go of the lock when the process ends, however it ends, and at no other time: a
process that was only stopped for an hour keeps what it had begun.
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
        """Whether the file is still the one there: it may have been removed with its journal."""
        try:
            return os.path.samestat(os.fstat(self._file), os.stat(f"{path}-owners"))
        except FileNotFoundError:
            return False

    def begin(self, run: int) -> None:
        """This process is that run."""
        _lock(self._file, run)
        self._own.add(run)

    def alive(self, run: int) -> bool:
        """Whether the process of a run is there."""
        if run in self._own:
            return True
        try:
            _lock(self._file, run)
        except OSError:
            return True
        _unlock(self._file, run)
        return False

    def end(self, run: int) -> None:
        """This process is that run no more."""
        self._own.discard(run)
        _unlock(self._file, run)


# POSIX drops all locks that a process has on a file as soon as it closes any descriptor of it: so
# there is one for each file, and it stays open.
_OPEN: dict[str, ProcessLocks] = {}


def owners_at(path: str) -> ProcessLocks:
    """The locks of the journal at a path.

    Raises:
        OSError: there can be none.
    """
    real = os.path.realpath(path)
    owners = _OPEN.get(real)
    if owners is None or not owners.is_at(real):
        owners = _OPEN[real] = ProcessLocks(real)
    return owners


after_fork_in_child(_OPEN.clear)  # a child has none of its parent's locks
