"""The open journals of this process: one for each file."""

from __future__ import annotations

import os
import threading

from flextier._utils.fork import after_fork_in_child
from flextier.journal.journal import Journal

# The locks show which process is alive, not which object.
_OPEN: dict[str, Journal] = {}
_OPENING = threading.Lock()
_PARENTS_JOURNALS: list[Journal] = []


def journal_at(path: str) -> Journal:
    """The journal of this process at a path; opened at the first call."""
    journal = _OPEN.get(path)  # mostly it is the real path, which takes long to find
    if journal is None:
        real = os.path.realpath(path)
        with _OPENING:
            journal = _OPEN.get(real)
            if journal is None:
                journal = _OPEN[real] = Journal(real)
    return journal


def begin_again(path: str) -> None:
    """Number the calls of this process from 1 again, as if it were a new process."""
    real = os.path.realpath(path)
    with _OPENING:
        journal = _OPEN.get(real)
        if journal is not None and not journal.exists:
            del _OPEN[real]  # the next call creates a new one
            return
    if journal is not None:
        journal.restart_counts()


def _detach_from_parent() -> None:
    """Drop the journals of the parent process, without closing their connections."""
    global _OPENING
    _OPENING = threading.Lock()
    _PARENTS_JOURNALS.extend(_OPEN.values())
    _OPEN.clear()


after_fork_in_child(_detach_from_parent)
