"""Forks: a child must not share its parent's connections, nor write its parent's records.

SQLite forgets in a child which locks the process holds: a connection that was open at the fork can
ruin the file, even one that the child opens itself. So before a fork all are closed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol
from weakref import WeakSet

from flextier._utils.fork import around_fork

_PATIENCE = 10.0  # seconds that a fork waits for a transaction to end


class ForkParticipant(Protocol):
    """What has a part in every fork of the process."""

    def before_fork(self) -> None:
        """Release what a child must not inherit."""

    def after_fork(self, child: bool) -> None:
        """Go on: in the parent, or as a child that starts with nothing."""


class ActiveUsers:
    """Counts the threads that use the database, so that a fork can wait for them."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Set the count to zero, as in a forked child."""
        self._changed = threading.Condition()
        self._users = 0
        self._held = False

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Use it; waits while a fork is under way."""
        with self._changed:
            self._changed.wait_for(lambda: not self._held)
            self._users += 1
        try:
            yield
        finally:
            with self._changed:
                self._users -= 1
                self._changed.notify_all()

    def hold(self) -> bool:
        """Block new users, and wait some seconds for the present ones; whether all are done."""
        with self._changed:
            self._held = True
            return self._changed.wait_for(lambda: not self._users, _PATIENCE)

    def go_on(self) -> None:
        """Let others begin again."""
        with self._changed:
            self._held = False
            self._changed.notify_all()


_FORKED: WeakSet[ForkParticipant] = WeakSet()
_at_fork: list[ForkParticipant] = []


def take_part(one: ForkParticipant) -> None:
    """Call the hooks of ``one`` at every fork, as long as it lives."""
    _FORKED.add(one)


def _before() -> None:
    _at_fork[:] = list(_FORKED)
    for one in _at_fork:
        one.before_fork()


def _after(child: bool) -> None:
    for one in _at_fork:
        one.after_fork(child)
    _at_fork.clear()


around_fork(_before, lambda: _after(child=False), lambda: _after(child=True))
